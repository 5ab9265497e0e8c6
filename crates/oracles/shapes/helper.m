// The giving back in a helper, called and by a tail call; the lock in helpers.
#include "shape.h"

APART static void give_back(struct pool *pool, void *block) {
    os_unfair_lock_lock(&pool->lock);
    u32 count = pool->count;
    if (count > 7) {
        os_unfair_lock_unlock(&pool->lock);
        free(block);
        return;
    }
    pool->slots[count] = block;
    pool->count = count + 1;
    os_unfair_lock_unlock(&pool->lock);
}

APART static void give_back_and_return(struct pool *pool, void *block) {
    os_unfair_lock_lock(&pool->lock);
    pool->slots[pool->count++ & 7] = block;
    os_unfair_lock_unlock(&pool->lock);
}

APART static void take(struct pool *pool) { os_unfair_lock_lock(&pool->lock); }
APART static void drop(struct pool *pool) { os_unfair_lock_unlock(&pool->lock); }

@interface late_helper : Object { void *_impl; struct pool *_pool; } @end
@implementation late_helper
- (void)called {
    if (!_impl) return;
    give_back(_pool, _impl);
    _impl = 0;
}
- (void)tail {
    void *block = _impl;
    if (!block) return;
    give_back_and_return(_pool, block);
    _impl = 0;
}
- (void)locksInHelpers {
    void *block = _impl;
    take(_pool);
    _pool->slots[_pool->count++ & 7] = block;
    drop(_pool);
    _impl = 0;
}
@end

@interface right_helper : Object { void *_impl; struct pool *_pool; } @end
@implementation right_helper
- (void)called {
    void *block = _impl;
    _impl = 0;
    if (block) give_back(_pool, block);
}
- (void)locksInHelpers {
    void *block = _impl;
    take(_pool);
    _pool->slots[_pool->count++ & 7] = block;
    _impl = 0;
    drop(_pool);
}
@end

@interface nopool_helper : Object { void *_impl; struct pool *_pool; } @end
@implementation nopool_helper
- (void)locksInHelpers {
    void *block = _impl;
    take(_pool);
    _pool->count++;
    drop(_pool);
    free(block);
    _impl = 0;
}
@end
