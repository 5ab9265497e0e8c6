#pragma once
#include <sys/types.h>
#define F_OK 0
#define R_OK 4
int access(const char *, int);
unsigned alarm(unsigned);
pid_t fork(void);
pid_t getpid(void);
int usleep(unsigned);
ssize_t write(int, const void *, size_t);
