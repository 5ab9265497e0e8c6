#pragma once
#include <sys/types.h>
#define SIGBUS 10
#define SIGKILL 9
#define SIGSEGV 11
#define SIGUSR1 30
#define SA_SIGINFO 0x40
#define SIG_DFL ((void (*)(int))0)
typedef struct {
  int si_signo, si_errno, si_code;
  pid_t si_pid;
  unsigned si_uid;
  int si_status;
  void *si_addr;
} siginfo_t;
struct sigaction {
  union {
    void (*__sa_handler)(int);
    void (*__sa_sigaction)(int, siginfo_t *, void *);
  } __sigaction_u;
  unsigned sa_mask;
  int sa_flags;
};
#define sa_sigaction __sigaction_u.__sa_sigaction
int sigaction(int, const struct sigaction *, struct sigaction *);
void (*signal(int, void (*)(int)))(int);
int raise(int);
int kill(pid_t, int);
