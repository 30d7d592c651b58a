// Quantised weights with a scale for each group of columns of a row. A tensor of i8 [N, K] holds a
// matrix [N, K] of integers from -128 to 127, one of ui8 [N, int4RowBytes(K)] of integers from -8
// to 7 (Int4.h). A second tensor [N, ceil(K / group)] holds the scales of its groups, which are
// `group` consecutive columns of a row, 32, 64 or 128, the last one fewer where K is no multiple:
// of bf16 or f16.
//
// Groups may have a minimum besides: with a second tensor of f32 [N, ceil(K / group), 2], scale and
// minimum of each, a value is code · scale - minimum, and integers of four bits are from 0 to 15.
//
// Scales of two levels are whole numbers of eight bits times one f16 for each 128 columns, of which
// K is a multiple then. The second tensor is bytes, i8 [N, K / 128, 12] or, of i8 alone,
// [N, K / 128, 10], numbers little-endian:
// - 12: f16 s, f16 m; ui8 of the scales of four groups of 32, s times these; ui8 of their minimums,
//   m times these. Values are as with minimums above.
// - 10: f16 s; i8 of the scales of eight groups of 16, s times these.
#ifndef M1_IR_GROUPS_H
#define M1_IR_GROUPS_H

#include "M1/IR/M1.h"

#include <optional>

namespace mlir::m1 {

constexpr int64_t groupSizes[] = {32, 64, 128};
constexpr int64_t fineGroup = 16, pairedGroup = 32; // of scales of two levels
constexpr int64_t scaleBlock = 128;                 // columns that these have one f16 for
constexpr int64_t fineBlockBytes = 10, pairedBlockBytes = 12;

constexpr int64_t groupsOf(int64_t columns, int64_t group) { return (columns + group - 1) / group; }

/// Which group makes `groups` scales of a row; none if no group does.
inline std::optional<int64_t> groupOf(int64_t columns, int64_t groups) {
  for (int64_t group : groupSizes)
    if (groupsOf(columns, group) == groups)
      return group;
  return std::nullopt;
}

/// Whether scales of this type are of two levels.
inline bool isTwoLevels(Type scale) {
  auto several = dyn_cast<VectorType>(scale);
  return (several ? several.getElementType() : scale).isSignlessInteger(8);
}

/// Whether scales of this shape have minimums beside them.
inline bool hasMinimums(ArrayRef<int64_t> scales) {
  return scales.size() == 3 && scales[2] != fineBlockBytes;
}
inline bool hasMinimums(RankedTensorType scales) { return hasMinimums(scales.getShape()); }

/// Columns of each of the groups that have scales of this shape and type; none if no group does.
inline std::optional<int64_t> groupOf(int64_t columns, ArrayRef<int64_t> scales, Type element) {
  if (!isTwoLevels(element))
    return groupOf(columns, scales[1]);
  if (columns != scales[1] * scaleBlock)
    return std::nullopt;
  return hasMinimums(scales) ? pairedGroup : fineGroup;
}

/// Bits of an integer and columns of a scale.
struct GroupForm {
  int bits;
  int64_t group;
};

/// The transform that makes such groups; none if none does.
inline std::optional<Transform> transformTo(GroupForm form) {
  if (form.bits == 8 && form.group == fineGroup)
    return Transform::Int8Groups16;
  const int place = form.group == 32 ? 0 : form.group == 64 ? 1 : form.group == 128 ? 2 : -1;
  if (place < 0 || (form.bits != 4 && form.bits != 8))
    return std::nullopt;
  constexpr Transform transforms[2][3] = {
      {Transform::Int4Groups32, Transform::Int4Groups64, Transform::Int4Groups128},
      {Transform::Int8Groups32, Transform::Int8Groups64, Transform::Int8Groups128}};
  return transforms[form.bits == 8][place];
}

/// What a transform makes; none of those that make no groups.
inline std::optional<GroupForm> groupFormOf(Transform transform) {
  switch (transform) {
  case Transform::Int8Groups16:
    return GroupForm{8, fineGroup};
  case Transform::Int8Groups32:
    return GroupForm{8, 32};
  case Transform::Int8Groups64:
    return GroupForm{8, 64};
  case Transform::Int8Groups128:
    return GroupForm{8, 128};
  case Transform::Int4Groups32:
    return GroupForm{4, 32};
  case Transform::Int4Groups64:
    return GroupForm{4, 64};
  case Transform::Int4Groups128:
    return GroupForm{4, 128};
  default:
    return std::nullopt;
  }
}

/// Whether the scales of a quantised weight are those of groups, not of rows.
inline bool isOfGroups(RankedTensorType scales) { return scales.getRank() > 1; }

/// What a group has beside its integers: a scale of bf16 or f16; as vector<2xf32>, a scale and a
/// minimum; or what 128 columns have of two levels, as vector<12xi8> or vector<10xi8>.
inline bool isGroupScale(Type type, int64_t group) {
  auto several = dyn_cast<VectorType>(type);
  if (!several)
    return group != fineGroup && (type.isBF16() || type.isF16());
  const ArrayRef<int64_t> shape = several.getShape();
  if (!isTwoLevels(type))
    return group != fineGroup && shape == ArrayRef<int64_t>(2) && several.getElementType().isF32();
  return (group == fineGroup && shape == ArrayRef<int64_t>(fineBlockBytes)) ||
         (group == pairedGroup && shape == ArrayRef<int64_t>(pairedBlockBytes));
}
/// Columns of a row that each `scale` belongs to.
inline int64_t columnsOfScale(Type scale, int64_t group) {
  return isTwoLevels(scale) ? scaleBlock : group;
}
/// The scales of groups of matrices [rows, columns] that each have such.
inline RankedTensorType scalesOfGroups(int64_t rows, int64_t columns, int64_t group, Type scale) {
  const int64_t scales = groupsOf(columns, columnsOfScale(scale, group));
  if (auto several = dyn_cast<VectorType>(scale))
    return RankedTensorType::get({rows, scales, several.getDimSize(0)}, several.getElementType());
  return RankedTensorType::get({rows, scales}, scale);
}
/// What each group, or each 128 columns of two levels, has.
inline Type scaleOfGroups(RankedTensorType scales) {
  if (scales.getRank() == 2)
    return scales.getElementType();
  return VectorType::get(scales.getDimSize(2), scales.getElementType());
}

/// Attributes of a weight of plain elements that the checkpoint holds as such groups: the transform
/// that makes integers of these, and what each group has (isGroupScale). The latter stays where
/// it becomes one of integers: those of the checkpoint, with its scales.
constexpr llvm::StringLiteral storedCodesName = "m1.stored_codes",
                              storedScalesName = "m1.stored_scales";

} // namespace mlir::m1

#endif
