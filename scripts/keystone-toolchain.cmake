# Read by CMake before keystone's own CMakeLists.txt.
#
# keystone asks for the OLD behaviour of policies that CMake 4 removed, which is
# an error there and was a warning before. The policies concern only how paths
# are quoted, so the request is ignored.
macro(cmake_policy)
endmacro()

# Its LLVM wants a Python interpreter for code generation and finds `python2`
# first where a shim of that name exists.
find_program(PYTHON_EXECUTABLE python3)
