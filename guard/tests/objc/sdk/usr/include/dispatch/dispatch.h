#pragma once
typedef struct queue *dispatch_queue_t;
typedef struct attributes *dispatch_queue_attr_t;
typedef long dispatch_once_t;
extern struct attributes _dispatch_queue_attr_concurrent;
#define DISPATCH_QUEUE_CONCURRENT (&_dispatch_queue_attr_concurrent)
dispatch_queue_t dispatch_queue_create(const char *, dispatch_queue_attr_t);
void dispatch_sync_f(dispatch_queue_t, void *, void (*)(void *));
void dispatch_once_f(dispatch_once_t *, void *, void (*)(void *));
