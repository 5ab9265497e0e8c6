// A freelist through the blocks themselves, without a count.
#include "shape.h"

@interface late_list : Object { struct node *_impl; struct list *_list; } @end
@implementation late_list
- (void)pushed {
    struct node *node = _impl;
    if (!node) return;
    struct list *list = _list;
    os_unfair_lock_lock(&list->lock);
    node->next = list->head;
    list->head = node;
    os_unfair_lock_unlock(&list->lock);
    _impl = 0;
}
- (void)appended {
    struct node *node = _impl;
    if (!node) return;
    node->next = 0;
    struct list *list = _list;
    os_unfair_lock_lock(&list->lock);
    struct node **last = &list->head;
    while (*last) last = &(*last)->next;
    *last = node;
    os_unfair_lock_unlock(&list->lock);
    _impl = 0;
}
@end

@interface right_list : Object { struct node *_impl; struct list *_list; } @end
@implementation right_list
- (void)pushed {
    struct node *node = _impl;
    if (!node) return;
    struct list *list = _list;
    os_unfair_lock_lock(&list->lock);
    node->next = list->head;
    list->head = node;
    _impl = 0;
    os_unfair_lock_unlock(&list->lock);
}
@end
