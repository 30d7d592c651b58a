// Quantised weights with a scale for each group of columns of a row. A tensor of i8 [N, K] holds a
// matrix [N, K] of integers from -128 to 127, one of ui8 [N, int4RowBytes(K)] of integers from -8
// to 7 (Int4.h). A second tensor [N, ceil(K / group)] holds the scales of its groups, which are
// `group` consecutive columns of a row, the last one fewer where K is no multiple: of bf16 or f16
// those of 32, 64 or 128 columns, of f32, which i8 alone may have, those of 16.
//
// Groups of 32, 64 or 128 may have a minimum besides: with a second tensor of f32 [N, ceil(K /
// group), 2], scale and minimum of each, a value is code · scale - minimum, and integers of four
// bits are from 0 to 15.
#ifndef M1_IR_GROUPS_H
#define M1_IR_GROUPS_H

#include "M1/IR/M1.h"

#include <optional>

namespace mlir::m1 {

constexpr int64_t groupSizes[] = {32, 64, 128};
constexpr int64_t fineGroup = 16;

constexpr int64_t groupsOf(int64_t columns, int64_t group) { return (columns + group - 1) / group; }

/// Which group makes `groups` scales of a row; none if no group does.
inline std::optional<int64_t> groupOf(int64_t columns, int64_t groups) {
  for (int64_t group : groupSizes)
    if (groupsOf(columns, group) == groups)
      return group;
  return std::nullopt;
}

/// Whether scales of this shape have minimums beside them.
inline bool hasMinimums(ArrayRef<int64_t> scales) { return scales.size() == 3; }
inline bool hasMinimums(RankedTensorType scales) { return hasMinimums(scales.getShape()); }

/// Columns of each of the groups that have scales of this shape and type; none if no group does.
inline std::optional<int64_t> groupOf(int64_t columns, ArrayRef<int64_t> scales, Type element) {
  if (!element.isF32() || hasMinimums(scales))
    return groupOf(columns, scales[1]);
  return groupsOf(columns, fineGroup) == scales[1] ? std::optional(fineGroup) : std::nullopt;
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

/// What a group has beside its integers: a scale of bf16 or f16; of f32, of groups of 16; or, as
/// vector<2xf32>, a scale and a minimum.
inline bool isGroupScale(Type type, int64_t group) {
  if (auto pair = dyn_cast<VectorType>(type))
    return group != fineGroup && pair.getShape() == ArrayRef<int64_t>(2) &&
           pair.getElementType().isF32();
  return group == fineGroup ? type.isF32() : type.isBF16() || type.isF16();
}
/// The scales of `groups` groups of `rows` rows that each have such.
inline RankedTensorType scalesOfGroups(int64_t rows, int64_t groups, Type scale) {
  if (auto pair = dyn_cast<VectorType>(scale))
    return RankedTensorType::get({rows, groups, 2}, pair.getElementType());
  return RankedTensorType::get({rows, groups}, scale);
}
/// What each group has; null of scales of other forms.
inline Type scaleOfGroups(RankedTensorType scales) {
  if (scales.getRank() == 2)
    return scales.getElementType();
  return hasMinimums(scales) && scales.getDimSize(2) == 2
             ? VectorType::get(2, scales.getElementType())
             : Type();
}

/// Attributes of a weight of plain elements that the checkpoint holds as such groups: the transform
/// that makes integers of these, and what each group has (isGroupScale). The latter stays where
/// it becomes one of integers: those of the checkpoint, with its scales.
constexpr llvm::StringLiteral storedCodesName = "m1.stored_codes",
                              storedScalesName = "m1.stored_scales";

} // namespace mlir::m1

#endif
