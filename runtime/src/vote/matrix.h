// Arithmetic of matrices of expressions. Null where it has no sense, or where the result is larger
// than any answer.
#ifndef M1RT_VOTE_MATRIX_H
#define M1RT_VOTE_MATRIX_H

#include "vote/value.h"

namespace m1rt::vote {

using MatrixPtr = std::shared_ptr<const Value>;

MatrixPtr sum(const Value &a, const Value &b);
MatrixPtr product(const Value &a, const Value &b);
MatrixPtr transposed(const Value &matrix);
MatrixPtr scaled(const Expression &factor, const Value &matrix);
MatrixPtr inverse(const Value &matrix);
std::shared_ptr<const Value> determinant(const Value &matrix); // an expression

} // namespace m1rt::vote

#endif
