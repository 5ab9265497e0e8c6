// Inside a block: the object is captured.
#include "shape.h"

void run(void (^)(void));

@interface late_blocks : Object { void *_impl; struct pool *_pool; } @end
@implementation late_blocks
- (void)asynchronous {
    run(^{
        void *block = self->_impl;
        if (!block) return;
        struct pool *pool = self->_pool;
        os_unfair_lock_lock(&pool->lock);
        if (pool->count < 8) {
            pool->slots[pool->count++] = block;
            os_unfair_lock_unlock(&pool->lock);
        } else {
            os_unfair_lock_unlock(&pool->lock);
            free(block);
        }
        self->_impl = 0;
    });
}
@end

@interface right_blocks : Object { void *_impl; struct pool *_pool; } @end
@implementation right_blocks
- (void)asynchronous {
    run(^{
        void *block = self->_impl;
        if (!block) return;
        struct pool *pool = self->_pool;
        os_unfair_lock_lock(&pool->lock);
        self->_impl = 0;
        pool->slots[pool->count++ & 7] = block;
        os_unfair_lock_unlock(&pool->lock);
    });
}
@end
