# LLVM, MLIR and their CMake functions. Everything links the shared libMLIR and libLLVM, never a static MLIR library beside them.
set(MLIR_DIR ${LLVM_ROOT_DIR}/lib/cmake/mlir CACHE PATH "")
find_package(MLIR REQUIRED CONFIG)
message(STATUS "MLIR ${LLVM_PACKAGE_VERSION} in ${MLIR_DIR}")
list(APPEND CMAKE_MODULE_PATH "${MLIR_CMAKE_DIR}" "${LLVM_CMAKE_DIR}")
set(LLVM_ENABLE_WARNINGS OFF CACHE BOOL "" FORCE) # our own, in m1_options
include(TableGen)
include(AddLLVM)
include(AddMLIR)

add_library(m1_mlir INTERFACE)
target_include_directories(m1_mlir SYSTEM INTERFACE ${LLVM_INCLUDE_DIRS} ${MLIR_INCLUDE_DIRS})
target_compile_definitions(m1_mlir INTERFACE ${LLVM_DEFINITIONS_LIST})
target_link_libraries(m1_mlir INTERFACE MLIR LLVM)

# One precompiled header for all compiler libraries: MLIR's headers dominate their build time.
function(m1_precompile_mlir target)
  target_precompile_headers(${target} PRIVATE
    <mlir/IR/Builders.h> <mlir/IR/BuiltinOps.h> <mlir/IR/BuiltinTypes.h> <mlir/IR/PatternMatch.h> <mlir/IR/DialectImplementation.h>
    <mlir/IR/OpImplementation.h> <mlir/Interfaces/SideEffectInterfaces.h> <mlir/Pass/Pass.h> <mlir/Dialect/Func/IR/FuncOps.h>
    <string> <vector> <memory> <map> <optional>)
endfunction()
