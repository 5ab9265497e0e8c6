#pragma once
#include <stddef.h>
typedef int pid_t;
typedef long ssize_t;
