# Read by CMake before keystone's own CMakeLists.txt.
#
# keystone asks for the OLD behaviour of a policy that CMake 4 knows only as NEW,
# which is an error there. Older CMake takes it with a warning and needs its
# policies set as its own modules ask.
if(CMAKE_VERSION VERSION_GREATER_EQUAL 4)
  macro(cmake_policy)
  endmacro()
endif()

# Its LLVM wants a Python interpreter for code generation and finds `python2`
# first where a shim of that name exists.
find_program(PYTHON_EXECUTABLE python3)

# The crate builds every processor LLVM 2016 knew; one is assembled for here. The
# others are half of the build, and tables the loader would relocate at each start.
set(LLVM_TARGETS_TO_BUILD "AArch64" CACHE STRING "" FORCE)
