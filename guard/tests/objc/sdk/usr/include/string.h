#pragma once
#include <stddef.h>
void *memset(void *, int, size_t);
size_t strlen(const char *);
int strcmp(const char *, const char *);
int strncmp(const char *, const char *, size_t);
char *strrchr(const char *, int);
char *strstr(const char *, const char *);
