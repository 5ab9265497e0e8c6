/* A place where threads wait for each other: macOS has no pthread_barrier_t. */
#include <pthread.h>

typedef struct {
  pthread_mutex_t mutex;
  pthread_cond_t all_came;
  int wanted, came, turn;
} Barrier;

static inline void barrier_init(Barrier *barrier, int wanted) {
  pthread_mutex_init(&barrier->mutex, NULL);
  pthread_cond_init(&barrier->all_came, NULL);
  barrier->wanted = wanted;
  barrier->came = barrier->turn = 0;
}

static inline void barrier_wait(Barrier *barrier) {
  pthread_mutex_lock(&barrier->mutex);
  int turn = barrier->turn;
  if (++barrier->came == barrier->wanted) {
    barrier->came = 0;
    barrier->turn++;
    pthread_cond_broadcast(&barrier->all_came);
  }
  while (turn == barrier->turn) pthread_cond_wait(&barrier->all_came, &barrier->mutex);
  pthread_mutex_unlock(&barrier->mutex);
}
