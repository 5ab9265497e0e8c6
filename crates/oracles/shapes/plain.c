// C functions: the object is a struct, the fields are constants.
#include "shape.h"

struct context {
    struct device *device;
    struct block *impl;
    struct pool *by_pointer;
};

KEPT void late_plain(struct context *context) {
    struct block *block = context->impl;
    if (block) {
        struct pool *pool = &context->device->pool;
        os_unfair_lock_lock(&pool->lock);
        if (pool->count > 7) {
            os_unfair_lock_unlock(&pool->lock);
            free(block);
        } else {
            pool->slots[pool->count++] = block;
            os_unfair_lock_unlock(&pool->lock);
        }
    }
    context->impl = 0;
}

KEPT void late_by_pointer(struct context *context) {
    os_unfair_lock_lock(&context->by_pointer->lock);
    context->by_pointer->slots[context->by_pointer->count++ & 7] = context->impl;
    os_unfair_lock_unlock(&context->by_pointer->lock);
    context->impl = 0;
}

KEPT int late_switch(struct context *context, int kind) {
    struct pool *pool = context->by_pointer;
    struct block *block = context->impl;
    int result = 0;
    os_unfair_lock_lock(&pool->lock);
    switch (kind) {
    case 0: pool->size = 11; result = 4; break;
    case 1: pool->slots[0] = block; result = 1; break;
    case 2: pool->slots[1] = block; pool->size = 3; break;
    case 3: pool->count = 0; pool->slots[2] = block; result = 9; break;
    case 4: pool->size = 1; pool->slots[3] = block; result = 12; break;
    case 5: pool->slots[4] = block; pool->count++; break;
    default: elsewhere(pool); break;
    }
    os_unfair_lock_unlock(&pool->lock);
    context->impl = 0;
    return result;
}

KEPT void right_plain(struct context *context) {
    struct block *block = context->impl;
    if (!block) return;
    struct pool *pool = &context->device->pool;
    os_unfair_lock_lock(&pool->lock);
    context->impl = 0;
    if (pool->count > 7) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
    } else {
        pool->slots[pool->count++] = block;
        os_unfair_lock_unlock(&pool->lock);
    }
}

KEPT void right_by_pointer(struct context *context) {
    os_unfair_lock_lock(&context->by_pointer->lock);
    context->by_pointer->slots[context->by_pointer->count++ & 7] = context->impl;
    context->impl = 0;
    os_unfair_lock_unlock(&context->by_pointer->lock);
}

KEPT void nopool_plain(struct context *context) {
    free(context->impl);
    context->impl = 0;
}

KEPT void unclear_outer_lock(struct context *context) {
    struct device *device = context->device;
    os_unfair_lock_lock(&device->second.lock);
    os_unfair_lock_lock(&device->pool.lock);
    device->pool.slots[device->pool.count++ & 7] = context->impl;
    os_unfair_lock_unlock(&device->pool.lock);
    context->impl = 0;
    os_unfair_lock_unlock(&device->second.lock);
}

KEPT void unclear_passed(struct context *context) {
    struct pool *pool = context->by_pointer;
    os_unfair_lock_lock(&pool->lock);
    elsewhere(context->impl);
    os_unfair_lock_unlock(&pool->lock);
    context->impl = 0;
}

KEPT void unclear_conditional(struct context *context) {
    struct pool *pool = context->by_pointer;
    int shared = chance();
    if (shared) os_unfair_lock_lock(&pool->lock);
    pool->slots[pool->count++ & 7] = context->impl;
    elsewhere(pool);
    if (chance()) os_unfair_lock_unlock(&pool->lock);
    context->impl = 0;
}

KEPT void unclear_pointer(struct context *context, void (*unlock)(os_unfair_lock *)) {
    struct pool *pool = context->by_pointer;
    os_unfair_lock_lock(&pool->lock);
    pool->slots[pool->count++ & 7] = context->impl;
    context->impl = 0;
    unlock(&pool->lock);
    os_unfair_lock_unlock(&pool->lock);
}

KEPT void unclear_never(struct context *context) {
    struct pool *pool = context->by_pointer;
    os_unfair_lock_lock(&pool->lock);
    pool->slots[pool->count++ & 7] = context->impl;
    os_unfair_lock_unlock(&pool->lock);
}
