// Whether facts of kernels are those of an operation.
#ifndef M1C_CONVERSION_VERIFYFACTS_H
#define M1C_CONVERSION_VERIFYFACTS_H

#include "m1c/KernelSelector.h"

namespace m1c {

/// Fails with an error unless the spec is one that the conversion could make of a verified
/// operation of the m1 dialect, which code generation relies on: operands by their roles and in
/// their order, types, sizes, parameters. Sets parameters that are absent to their defaults.
mlir::LogicalResult verifyFacts(KernelSpec &spec, mlir::MLIRContext *context,
                                llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

/// Fails with an error when a size is 0 or does not fit the 32 bits that kernels count in.
mlir::LogicalResult checkSizes(const OperandSpec &operand,
                               llvm::function_ref<mlir::InFlightDiagnostic()> emitError);

} // namespace m1c

#endif
