// A function keeps the block or says why not, and its caller reads the field again to free
// it: with the answer passed on, for two fields in turn, and with several ways to one free.
#include "shape.h"

struct owner {
    struct device *device;
    struct pool *pool;
    void *impl;
    usize bytes;
    void *others[2];
};

APART static int put(struct pool *pool, void *impl) {
    os_unfair_lock_lock(&pool->lock);
    int full = pool->count > 7;
    if (!full) pool->slots[pool->count++] = impl;
    os_unfair_lock_unlock(&pool->lock);
    return full ? -1 : 0;
}

static int offer(struct pool *pool, void *impl) {
    int kept = 0;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = impl;
        kept = 1;
    }
    os_unfair_lock_unlock(&pool->lock);
    return kept;
}

KEPT int late_passed_on(struct owner *owner) {
    int error = put(&owner->device->pool, owner->impl);
    if (error) free(owner->impl);
    owner->impl = 0;
    owner->bytes = 0;
    return error;
}

KEPT void late_in_turn(struct owner *owner) {
    if (owner->others[0]) {
        if (put(owner->pool, owner->others[0])) free(owner->others[0]);
        owner->others[0] = 0;
    }
    if (owner->others[1]) {
        if (put(owner->pool, owner->others[1])) free(owner->others[1]);
        owner->others[1] = 0;
    }
}

KEPT int late_several_ways(struct owner *owner, int way) {
    void *impl = owner->impl;
    switch (way) {
    case 0:
        free(impl);
        break;
    case 1:
        if (!offer(&owner->device->pool, impl)) free(impl);
        break;
    case 2:
        if (!offer(&owner->device->second, impl)) free(impl);
        break;
    default:
        return -1;
    }
    owner->impl = 0;
    return way;
}

KEPT void right_in_turn(struct owner *owner) {
    struct pool *pool = &owner->device->pool;
    void *impl = owner->others[0];
    owner->others[0] = 0;
    if (impl && put(pool, impl)) free(impl);
    impl = owner->others[1];
    owner->others[1] = 0;
    if (impl && put(pool, impl)) free(impl);
}
