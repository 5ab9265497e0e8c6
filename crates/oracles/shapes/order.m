// The two branches in both orders, a flag and one unlock, early returns under the
// lock, `trylock` and the lock with options.
#include "shape.h"

@interface late_order : Object { void *_impl; struct pool *_pool; } @end
@implementation late_order
- (void)pushFirst {
    void *block = _impl;
    if (!block) return;
    struct pool *pool = _pool;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = block;
        os_unfair_lock_unlock(&pool->lock);
    } else {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
    }
    _impl = 0;
}
- (void)oneUnlock {
    struct pool *pool = _pool;
    void *block = _impl;
    os_unfair_lock_lock(&pool->lock);
    int full = pool->count > 7;
    if (!full) pool->slots[pool->count++] = block;
    os_unfair_lock_unlock(&pool->lock);
    if (full) free(block);
    _impl = 0;
}
- (int)earlyReturns {
    struct pool *pool = _pool;
    void *block = _impl;
    if (!block) return 0;
    os_unfair_lock_lock(&pool->lock);
    if (pool->size == 0) {
        os_unfair_lock_unlock(&pool->lock);
        return 1;
    }
    if (pool->count >= 8) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
        _impl = 0;
        return 2;
    }
    pool->slots[pool->count++] = block;
    os_unfair_lock_unlock(&pool->lock);
    _impl = 0;
    return 3;
}
- (void)withOptions {
    void *block = _impl;
    if (!block) return;
    os_unfair_lock_lock_with_options(&_pool->lock, 0x10000);
    u32 count = _pool->count;
    _pool->slots[count & 7] = block;
    _pool->count = count + 1;
    os_unfair_lock_unlock(&_pool->lock);
    _impl = 0;
}
- (void)tried {
    void *block = _impl;
    struct pool *pool = _pool;
    if (os_unfair_lock_trylock(&pool->lock)) {
        if (pool->count < 8) {
            pool->slots[pool->count++] = block;
            block = 0;
        }
        os_unfair_lock_unlock(&pool->lock);
    }
    free(block);
    _impl = 0;
}
@end

@interface right_order : Object { void *_impl; struct pool *_pool; } @end
@implementation right_order
- (void)pushFirst {
    void *block = _impl;
    if (!block) return;
    struct pool *pool = _pool;
    os_unfair_lock_lock(&pool->lock);
    _impl = 0;
    if (pool->count < 8) {
        pool->slots[pool->count++] = block;
        os_unfair_lock_unlock(&pool->lock);
    } else {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
    }
}
- (void)oneUnlock {
    struct pool *pool = _pool;
    void *block = _impl;
    os_unfair_lock_lock(&pool->lock);
    int full = pool->count > 7;
    if (!full) pool->slots[pool->count++] = block;
    _impl = 0;
    os_unfair_lock_unlock(&pool->lock);
    if (full) free(block);
}
- (void)clearedInEachBranch {
    struct pool *pool = _pool;
    void *block = _impl;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count > 7) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
        _impl = 0;
        return;
    }
    pool->slots[pool->count++] = block;
    _impl = 0;
    os_unfair_lock_unlock(&pool->lock);
}
- (void)takenFirst {
    struct pool *pool = _pool;
    void *block = _impl;
    _impl = 0;
    if (!block) return;
    os_unfair_lock_lock(&pool->lock);
    if (pool->count < 8) {
        pool->slots[pool->count++] = block;
        block = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    free(block);
}
- (void)readUnderTheLock {
    struct pool *pool = _pool;
    os_unfair_lock_lock(&pool->lock);
    void *block = _impl;
    _impl = 0;
    if (block && pool->count < 8) {
        pool->slots[pool->count++] = block;
        block = 0;
    }
    os_unfair_lock_unlock(&pool->lock);
    free(block);
}
@end

@interface nopool_order : Object { void *_impl; struct pool *_pool; } @end
@implementation nopool_order
- (void)freed {
    free(_impl);
    _impl = 0;
}
- (void)countedOnly {
    void *block = _impl;
    if (!block) return;
    os_unfair_lock_lock(&_pool->lock);
    _pool->count -= 1;
    os_unfair_lock_unlock(&_pool->lock);
    free(block);
    _impl = 0;
}
@end
