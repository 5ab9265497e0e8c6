#pragma once
#define RTLD_LAZY 0x1
#define RTLD_LOCAL 0x4
typedef struct { const char *dli_fname; void *dli_fbase; const char *dli_sname; void *dli_saddr; } Dl_info;
int dladdr(const void *, Dl_info *);
void *dlopen(const char *, int);
