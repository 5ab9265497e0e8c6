// Numbers that are stored under the lock: the block's place in an array gives it back, which
// the finder does not follow; a counter does not. And a block that some paths store where no
// lock is held.
#include "shape.h"

struct indexed {
    os_unfair_lock lock;
    int first;
    char *base;
    int next[64];
    usize bytes;
};

struct local {
    u32 count;
    void *slots[4];
};

struct user {
    struct indexed *indexed;
    struct pool *pool;
    struct local *local;
    void *impl;
    usize size;
};

KEPT void unclear_by_index(struct user *user) {
    struct indexed *indexed = user->indexed;
    int place = (int)(((char *)user->impl - indexed->base) / 256);
    os_unfair_lock_lock(&indexed->lock);
    indexed->next[place] = indexed->first;
    indexed->first = place;
    os_unfair_lock_unlock(&indexed->lock);
    user->impl = 0;
}

KEPT void nopool_counted(struct user *user) {
    struct indexed *indexed = user->indexed;
    os_unfair_lock_lock(&indexed->lock);
    indexed->bytes -= *(u32 *)user->impl;
    os_unfair_lock_unlock(&indexed->lock);
    free(user->impl);
    user->impl = 0;
}

KEPT void late_local_first(struct user *user) {
    void *impl = user->impl;
    if (user->local->count < 4) {
        user->local->slots[user->local->count++] = impl;
        user->impl = 0;
        return;
    }
    struct pool *pool = user->pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        impl = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    if (impl) free(impl);
    user->impl = 0;
}
