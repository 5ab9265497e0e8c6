# Read by CMake before keystone's own CMakeLists.txt when it is built for macOS on
# another system: what any build of it is told, and zig as the compiler, which
# cargo-zigbuild names in the variables the cc crate goes by.
include("${CMAKE_CURRENT_LIST_DIR}/../../scripts/keystone-toolchain.cmake")

string(REPLACE "-" "_" target "$ENV{TARGET}")
set(CMAKE_SYSTEM_NAME Darwin)
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR "$ENV{TARGET}")
set(CMAKE_C_COMPILER "$ENV{CC_${target}}")
set(CMAKE_CXX_COMPILER "$ENV{CXX_${target}}")
set(CMAKE_AR "$ENV{AR_${target}}")
set(CMAKE_RANLIB "$ENV{RANLIB_${target}}")
# Neither is there, and neither is needed for a static library.
set(CMAKE_INSTALL_NAME_TOOL true)
set(CMAKE_OTOOL true)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE ONLY)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE ONLY)
