// Quantised weights with a scale for each group of columns of a row. A tensor of i8 [N, K] holds a
// matrix [N, K] of integers from -128 to 127, one of ui8 [N, int4RowBytes(K)] of integers from -8
// to 7 (Int4.h). A second tensor of bf16 or f16 [N, ceil(K / group)] holds the scales of its
// groups, which are `group` consecutive columns of a row, the last one fewer where K is no
// multiple.
#ifndef M1_IR_GROUPS_H
#define M1_IR_GROUPS_H

#include "M1/IR/M1.h"

#include <optional>

namespace mlir::m1 {

constexpr int64_t groupSizes[] = {32, 64, 128};

constexpr int64_t groupsOf(int64_t columns, int64_t group) { return (columns + group - 1) / group; }

/// Which group makes `groups` scales of a row; none if no group does.
inline std::optional<int64_t> groupOf(int64_t columns, int64_t groups) {
  for (int64_t group : groupSizes)
    if (groupsOf(columns, group) == groups)
      return group;
  return std::nullopt;
}

/// Bits of an integer and columns of a scale.
struct GroupForm {
  int bits;
  int64_t group;
};

/// The transform that makes such groups; none if none does.
inline std::optional<Transform> transformTo(GroupForm form) {
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
inline bool isOfGroups(RankedTensorType scales) { return scales.getRank() == 2; }

/// Whether scales of groups may have this type.
inline bool isGroupScale(Type element) { return element.isBF16() || element.isF16(); }

/// Attributes of a weight of plain elements that the checkpoint holds as such groups: the transform
/// that makes integers of these, and the type of an element of their scales. The latter stays where
/// it becomes one of integers: those of the checkpoint, with its scales.
constexpr llvm::StringLiteral storedCodesName = "m1.stored_codes",
                              storedScalesName = "m1.stored_scales";

} // namespace mlir::m1

#endif
