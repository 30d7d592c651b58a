# LLVM, MLIR and their CMake functions. Everything links the shared libMLIR and libLLVM, never a static MLIR library beside them.
set(MLIR_DIR ${LLVM_ROOT_DIR}/lib/cmake/mlir CACHE PATH "")
find_package(MLIR REQUIRED CONFIG)
message(STATUS "MLIR ${LLVM_PACKAGE_VERSION} in ${MLIR_DIR}")
if(NOT LLVM_ENABLE_ZSTD)
  message(FATAL_ERROR "LLVM was built without zstd, by which artifacts keep their modules: set LLVM_ROOT_DIR to one with it")
endif()
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
set(LLVM_ENABLE_WARNINGS OFF CACHE BOOL "" FORCE) # our own, in m1_options
include(TableGen)
include(AddLLVM)
include(AddMLIR)

add_library(m1_mlir INTERFACE)
target_include_directories(m1_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(m1_mlir INTERFACE ${LLVM_DEFINITIONS_LIST})
target_link_libraries(m1_mlir INTERFACE MLIR LLVM)

# Two precompiled headers for the whole compiler, as MLIR's headers dominate its build time: what every file needs, and with it
# the dialects that kernels are lowered through.
set(M1_MLIR_HEADERS
  <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h> <mlir/IR/BuiltinTypes.h> <mlir/IR/PatternMatch.h> <mlir/IR/DialectImplementation.h>
  <mlir/IR/OpImplementation.h> <mlir/Interfaces/SideEffectInterfaces.h> <mlir/Pass/Pass.h> <mlir/Dialect/Func/IR/FuncOps.h>
  <string> <vector> <memory> <map> <optional>)
m1_add_headers(m1_mlir_headers m1_mlir ${M1_MLIR_HEADERS})
m1_add_headers(m1_lowering_headers m1_mlir ${M1_MLIR_HEADERS}
  <mlir/Dialect/Arith/IR/Arith.h> <mlir/Dialect/Math/IR/Math.h> <mlir/Dialect/MemRef/IR/MemRef.h> <mlir/Dialect/SCF/IR/SCF.h>
  <mlir/Dialect/Vector/IR/VectorOps.h> <mlir/Dialect/GPU/IR/GPUDialect.h> <mlir/Dialect/LLVMIR/LLVMDialect.h> <mlir/Dialect/LLVMIR/NVVMDialect.h>)

function(m1_precompile_mlir target)
  m1_reuse_headers(${target} m1_mlir_headers)
endfunction()
function(m1_precompile_lowering target)
  m1_reuse_headers(${target} m1_lowering_headers)
endfunction()
