#include "fake_driver.h"
#include "barrier.h"

#include <execinfo.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

uint64_t fake_dispatched, fake_live_objects;
int fake_holds;
int fake_open, fake_most_open, fake_poisons, fake_reuses;
void (*fake_during_end)(void);
void (*fake_throw)(int number);
__thread int fake_defers_end;
void (*fake_stop)(int where);
AGXFakeDevice *fake_device;

#define DRIVER_POOL 8
static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER;
static char *pool[DRIVER_POOL];
static int pool_count;

static char *pool_take(void) {
  pthread_mutex_lock(&pool_lock);
  char *impl = pool_count ? pool[--pool_count] : NULL;
  pthread_mutex_unlock(&pool_lock);
  if (!impl) impl = malloc(IMPL_SIZE);
  memset(impl, 0, IMPL_SIZE);
  return impl;
}

/* The race's other half: reads without a lock and without a test. */
static inline void use(char *volatile *impl, uint64_t *sum, int offset) {
  char *mine = *impl;
  *sum += *(volatile uint32_t *)(mine + offset) + 1;
  __atomic_fetch_add(&fake_dispatched, 1, __ATOMIC_RELAXED);
}

static void fail(const char *text) {
  fprintf(stderr, "failed assertion: %s\n", text);
  abort();
}

static void stop(int where) {
  if (fake_stop) fake_stop(where);
}

/* The word of an object that says what class it is of. Not by its name: clang has a warning for each use of that. */
static Class *class_of(id object) { return (Class *)(void *)object; }

/* Where the object lay that was deallocated last. Not every allocator uses it again at once. */
static void *last_place;
static size_t last_size;

static FakeObject *allocate(size_t size) {
  void *place = size == last_size ? __atomic_exchange_n(&last_place, NULL, __ATOMIC_ACQ_REL) : NULL;
  return place ? memset(place, 0, size) : calloc(1, size);
}

static void give_back(FakeObject *object, size_t size) {
  if (!fake_reuses || last_place) return free(object);
  last_size = size;
  __atomic_store_n(&last_place, (void *)object, __ATOMIC_RELEASE);
}

@implementation FakeObject
+ (void)initialize {}
+ (id)alloc {
  FakeObject *object = allocate(class_getInstanceSize(self));
  *class_of(object) = self;
  object->_references = 1;
  __atomic_fetch_add(&fake_live_objects, 1, __ATOMIC_RELAXED);
  return object;
}
- (id)init { return self; }
- (id)retain { __atomic_fetch_add(&_references, 1, __ATOMIC_RELAXED); return self; }
- (void)release { if (__atomic_fetch_sub(&_references, 1, __ATOMIC_ACQ_REL) == 1) [self dealloc]; }
- (int32_t)retainCount { return __atomic_load_n(&_references, __ATOMIC_RELAXED); }
- (BOOL)respondsToSelector:(SEL)selector { return class_respondsToSelector(*class_of(self), selector); }
- (uintptr_t)hash { return (uintptr_t)self; }
- (void)dealloc {
  size_t size = class_getInstanceSize(*class_of(self));
  *(uintptr_t *)class_of(self) = 0xdeaddeaddeadd000;
  if (!fake_poisons) give_back(self, size);
  __atomic_fetch_sub(&fake_live_objects, 1, __ATOMIC_RELEASE);
}
@end

@implementation IOGPUFakeCommandEncoder
- (id)initWithCommandBuffer:(id)buffer config:(int)config {
  _impl = pool_take();
  _buffer = buffer;
  _began = 1;
  int open = __atomic_add_fetch(&fake_open, 1, __ATOMIC_SEQ_CST);
  int most = __atomic_load_n(&fake_most_open, __ATOMIC_SEQ_CST);
  while (open > most && !__atomic_compare_exchange_n(&fake_most_open, &most, open, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
  return self;
}
- (void)endEncoding {
  if (__atomic_exchange_n(&_ended, 1, __ATOMIC_SEQ_CST)) {
    fprintf(stderr, "failed assertion: endEncoding has already been called\n");
    abort();
  }
  __atomic_fetch_sub(&fake_open, 1, __ATOMIC_SEQ_CST);
  [_buffer setCurrentEncoder:nil];
}
- (void)insertDebugSignpost:(const char *)text { use(&_impl, &_sum, 0x98); }
- (uint64_t)sum { return _sum; }
- (void)dealloc {
  if (_began && !_ended) fail("Command encoder released without endEncoding");
  if (_impl) free(_impl);
  [super dealloc];
}
@end

@implementation AGXFakeFamilyComputeContext
- (id)initWithCommandBuffer:(id)buffer config:(int)config { return [super initWithCommandBuffer:buffer config:config]; }
- (void)setComputePipelineState:(id)state {
  stop(STOP_ENCODING);
  use(&_impl, &_sum, 0x5c8);
}
- (void)prepareForEnqueue { use(&_impl, &_sum, 0x98); }
- (void)allocateUSCSpillBuffer {
  char *mine = *(char *volatile *)&_impl;
  *(volatile uint32_t *)(mine + 0x184) = 0;
  __atomic_fetch_add(&fake_dispatched, 1, __ATOMIC_RELAXED);
}
- (void)dispatchThreads:(Size)threads threadsPerThreadgroup:(Size)group { use(&_impl, &_sum, 0x5f4); }
- (void)setBuffer:(id)buffer offset:(uint64_t)offset atIndex:(uint64_t)index { use(&_impl, &_sum, 0x5c8); }
- (void)endEncoding {
  [super endEncoding];
  if (_buffer) {
    [_buffer setPreviousComputeCommandEncoder:self];
  } else if (!fake_defers_end) {
    [self deferredEndEncoding];
  }
}
- (void)reInitWithCommandBuffer:(id)buffer {
  _ended = 0;
  __atomic_fetch_add(&fake_open, 1, __ATOMIC_SEQ_CST);
}
- (void)deferredEndEncoding {
  if (fake_during_end) fake_during_end();
  if (_impl) use(&_impl, &_sum, 0x98);
  [self destroyImpl]; /* a tail call, as in the driver */
}
- (void)destroyImpl {
  if (_impl == NULL) return;                                     /* test 1 */
  memset(*(char *volatile *)&_impl, 0xdd, IMPL_SIZE);            /* the destructor, before the lock, with _impl still set */
  char *impl = *(char *volatile *)&_impl;                        /* read again */
  if (impl) {                                                    /* test 2 */
    pthread_mutex_lock(&pool_lock);
    int full = pool_count >= DRIVER_POOL;
    if (!full) pool[pool_count++] = impl;
    pthread_mutex_unlock(&pool_lock);
    sched_yield();
    if (full) free(impl);
  }
  _impl = NULL;
}
- (void)dealloc {
  [self destroyImpl];
  [super dealloc];
}
- (int)addBytes:(int8_t)a shorts:(int16_t)b ints:(int32_t)c longs:(int64_t)d { return a + b + c + (int)d; }
- (float)addFloats:(float)a and:(float)b { return a + b; }
- (double)addDoubles:(double)a and:(double)b and:(double)c { return a + b + c; }
- (double)mix:(int)a with:(double)b with:(int)c with:(float)d { return a + b * 10 + c * 100 + d * 1000; }
- (uint64_t)volumeOf:(Size)size { return size.width * size.height * size.depth; }
- (uint64_t)volumeAt:(const Size *)size { return size->width * size->height * size->depth; }
- (double)lengthOf:(Vector)v { return v.x + 2 * v.y + 3 * v.z + 4 * v.w; }
- (Range)rangeFrom:(uint64_t)from length:(uint64_t)length { return (Range){from, length}; }
- (Size)sizeOf:(uint64_t)a and:(uint64_t)b and:(uint64_t)c { return (Size){a, b, c}; }
- (Region)regionOf:(Size)a and:(Size)b { return (Region){a, b}; }
- (Vector)vectorOf:(double)a and:(double)b { return (Vector){a, b, a + b, a - b}; }
- (Mixed)mixedOf:(float)a and:(double)b and:(float)c { return (Mixed){a, b, c}; }
- (uint64_t)many:(uint64_t)a :(uint64_t)b :(uint64_t)c :(uint64_t)d :(uint64_t)e :(uint64_t)f :(uint64_t)g :(uint64_t)h
                :(uint64_t)i :(uint64_t)j :(double)k :(double)l :(double)m :(double)n :(double)o :(double)p :(double)q :(double)r
                :(double)s :(int8_t)t :(Size)u {
  uint64_t sum = 0;
  uint64_t whole[] = {a, b, c, d, e, f, g, h, i, j, (uint64_t)t, u.width, u.height, u.depth};
  double parts[] = {k, l, m, n, o, p, q, r, s};
  for (int at = 0; at < 14; at++) sum = sum * 31 + whole[at];
  for (int at = 0; at < 9; at++) sum = sum * 31 + (uint64_t)(parts[at] * 4);
  return sum;
}
- (int64_t)sumFormat:(int)count, ... {
  va_list list;
  va_start(list, count);
  int64_t sum = 0;
  for (int at = 0; at < count; at++) sum += at % 2 ? (int64_t)va_arg(list, double) : va_arg(list, int64_t);
  va_end(list);
  return sum;
}
- (id)device { return self; }
- (BOOL)isCoalescable { return _impl != NULL; }
- (uint64_t)nest:(int)depth { return depth ? 1 + [self nest:depth - 1] : 0; }
- (uint64_t)callOther:(AGXFakeFamilyComputeContext *)other meeting:(void *)barrier {
  if (barrier) barrier_wait(barrier);
  [other setComputePipelineState:nil];
  return 7;
}
- (void)leaveByJump:(void *)buffer { longjmp(*(jmp_buf *)buffer, 1); }
- (void)holdFor:(int)milliseconds {
  __atomic_store_n(&fake_holds, 1, __ATOMIC_RELEASE);
  usleep(milliseconds * 1000);
}
- (BOOL)askOther:(AGXFakeFamilyComputeContext *)other { return [other isCoalescable]; }
- (void)endYourself { [self endEncoding]; }
- (void)exitThread { pthread_exit(NULL); }
- (void)throwItself { @throw self; }
- (void)throwThrough:(AGXFakeFamilyComputeContext *)other { [other throwItself]; }
- (int)throwNumber:(int)number {
  fake_throw(number);
  return number;
}
- (int)throwNumber:(int)number from:(AGXFakeFamilyComputeContext *)other { return [other throwNumber:number] + 1; }
- (void)throwWith:(uint64_t)a :(uint64_t)b :(uint64_t)c :(uint64_t)d :(uint64_t)e :(uint64_t)f :(uint64_t)g { @throw self; }
- (int)backtraceInto:(void **)frames count:(int)count { return backtrace(frames, count); }
- (id)initFailing {
  [self release];
  return nil;
}
- (id)initAsAnother {
  [self release];
  return [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:nil config:0];
}
@end

@implementation AGXFakeFamilySampledComputeContext
- (id)initWithCommandBuffer:(id)buffer config:(int)config { return [super initWithCommandBuffer:buffer config:config]; }
- (void)endEncoding { [super endEncoding]; }
- (void)setComputePipelineState:(id)state { [super setComputePipelineState:state]; }
@end

@implementation AGXFakeFamilyBlitContext
- (void)copyFromBuffer:(id)a toBuffer:(id)b size:(uint64_t)size { use(&_impl, &_sum, 0x98); }
- (void)endEncoding {
  [super endEncoding];
  if (_buffer) [_buffer setPreviousBlitCommandEncoder:self];
  else [self deferredEndEncoding];
}
- (void)deferredEndEncoding {
  use(&_impl, &_sum, 0x98);
  free(_impl);
  _impl = NULL;
}
@end

@implementation AGXFakeFamilyRenderContext
- (void)drawPrimitives:(int)type vertexStart:(uint64_t)start vertexCount:(uint64_t)count { use(&_impl, &_sum, 0x184); }
- (void)endEncoding {
  [super endEncoding];
  if (_buffer) [_buffer setPreviousRenderCommandEncoder:self];
  else [self deferredEndEncoding:YES];
}
- (void)deferredEndEncoding:(BOOL)stores {
  use(&_impl, &_sum, 0x184);
  free(_impl);
  _impl = NULL;
}
@end

@implementation AGXFakeFamilyRayTracingGPUBuilder
- (void)buildAccelerationStructure:(id)structure { use(&_impl, &_sum, 0x98); }
@end

@implementation AGXFakeFamilyResourceStateContext
- (id)initWithCount:(uint64_t)count {
  _impl.count = count;
  return self;
}
- (uint64_t)update:(uint64_t)count {
  _impl.count = count;
  return ++_impl.bytes;
}
- (_Complex double)phase { return 1; }
- (void)endEncoding {}
@end

@implementation XYZUnheardOfCommandEncoder
- (void)work { use(&_impl, &_sum, 0x98); }
@end

@implementation IOGPUFakeCommandBuffer
- (void)setCurrentEncoder:(id)encoder { _currentEncoder = encoder; }
- (void)commitEncoder {}
- (void)enqueue {}
- (void)waitUntilCompleted { usleep(1000); }
- (void)addCompletedHandler:(void (*)(id))handler {}
- (void)validate {
  if (_currentEncoder) fail("-[IOGPUFakeCommandBuffer validate]: a command encoder was not ended");
}
- (void)commit {
  if (_committed) fail("commit an already committed command buffer");
  [self validate];
  _committed = 1;
  [self commitEncoder];
}
- (void)encodeSignalEvent:(id)event value:(uint64_t)value {
  if (_currentEncoder) fail("encodeSignalEvent:value: with uncommitted encoder");
  [self commitEncoder];
}
@end

/* What a buffer keeps, read once and without a lock. */
static void *kept(void *volatile *place) {
  void *encoder = *place;
  if (encoder) stop(STOP_COMMIT_ENCODER);
  return encoder;
}

@implementation AGXFakeFamilyCommandBuffer
- (void)commitEncoder {
  AGXFakeFamilyComputeContext *compute = kept((void *volatile *)(void *)&_previousComputeCommandEncoder);
  if (compute) {
    [compute deferredEndEncoding];
    [compute release];
    _previousComputeCommandEncoder = nil;
  }
  AGXFakeFamilyBlitContext *blit = kept((void *volatile *)(void *)&_previousBlitCommandEncoder);
  if (blit) {
    [blit deferredEndEncoding];
    [blit release];
    _previousBlitCommandEncoder = nil;
  }
  AGXFakeFamilyRenderContext *render = kept((void *volatile *)(void *)&_previousRenderCommandEncoder);
  if (render) {
    [render deferredEndEncoding:YES];
    [render release];
    _previousRenderCommandEncoder = nil;
  }
}
- (BOOL)isEncoderCoalescingDisabled { return NO; }
- (BOOL)isComputeEncoderCoalescingDisabled { return NO; }
- (BOOL)mayCoalesce:(AGXFakeFamilyComputeContext *)encoder {
  static int is_disabled = -1, compute_is_disabled = -1;
  if (compute_is_disabled < 0) compute_is_disabled = [self isComputeEncoderCoalescingDisabled];
  if (is_disabled < 0) is_disabled = [self isEncoderCoalescingDisabled];
  if (is_disabled || compute_is_disabled) return NO;
  stop(STOP_COALESCING);
  if (*(volatile uint32_t *)(encoder->_impl + 0x760)) return NO; /* the fields do not agree */
  return ![fake_device disableComputeEncoderCoalescing] && ![fake_device disableEncoderCoalescing];
}
- (AGXFakeFamilyComputeContext *)computeCommandEncoder { return [self computeCommandEncoderWithConfig:1]; }
- (AGXFakeFamilyComputeContext *)computeCommandEncoderWithConfig:(int)config {
  if (_currentEncoder) fail("A command encoder is already encoding to this command buffer");
  AGXFakeFamilyComputeContext *encoder = _previousComputeCommandEncoder;
  if (encoder && config && [self mayCoalesce:encoder]) {
    _previousComputeCommandEncoder = nil;
    [encoder reInitWithCommandBuffer:self];
    _currentEncoder = encoder;
    return [encoder retain];
  }
  [self commitEncoder];
  encoder = [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:self config:config];
  _currentEncoder = encoder;
  return [encoder retain]; /* one reference is the buffer's */
}
- (void)encodeWorkForEvent:(id)event { [[self computeCommandEncoder] endEncoding]; }
- (AGXFakeFamilyBlitContext *)blitCommandEncoder {
  if (_currentEncoder) fail("A command encoder is already encoding to this command buffer");
  [self commitEncoder];
  _currentEncoder = [[AGXFakeFamilyBlitContext alloc] initWithCommandBuffer:self config:0];
  return [_currentEncoder retain];
}
- (AGXFakeFamilyRenderContext *)renderCommandEncoderWithDescriptor:(id)descriptor {
  if (_currentEncoder) fail("A command encoder is already encoding to this command buffer");
  [self commitEncoder];
  _currentEncoder = [[AGXFakeFamilyRenderContext alloc] initWithCommandBuffer:self config:0];
  return [_currentEncoder retain];
}
- (AGXFakeFamilyRayTracingGPUBuilder *)accelerationStructureCommandEncoder {
  if (_currentEncoder) fail("A command encoder is already encoding to this command buffer");
  [self commitEncoder];
  return _currentEncoder = [[AGXFakeFamilyRayTracingGPUBuilder alloc] initWithCommandBuffer:self config:0];
}
- (id)unknownCommandEncoder {
  [self commitEncoder];
  return [[XYZUnheardOfCommandEncoder alloc] initWithCommandBuffer:self config:0];
}
- (AGXFakeFamilyComputeContext *)previousComputeCommandEncoder { return _previousComputeCommandEncoder; }
- (void)setPreviousComputeCommandEncoder:(AGXFakeFamilyComputeContext *)encoder { _previousComputeCommandEncoder = encoder; }
- (void)setPreviousBlitCommandEncoder:(AGXFakeFamilyBlitContext *)encoder { _previousBlitCommandEncoder = encoder; }
- (void)setPreviousRenderCommandEncoder:(AGXFakeFamilyRenderContext *)encoder { _previousRenderCommandEncoder = encoder; }
- (BOOL)askPrevious { return [_previousComputeCommandEncoder isCoalescable]; }
- (void)addCompletedHandler:(void (*)(id))handler {
  if (_committed) fail("Completed handler provided after commit call");
  _handler = handler;
}
- (void)commit {
  [super commit];
  stop(STOP_SUBMITTING); /* a full queue */
  if (_handler) _handler(self);
}
@end

@implementation AGXFakeFamilyCommandAllocator_mtlnext
- (void)reset {}
@end

@implementation AGXFakeFamilyComputeContext_mtlnext
- (void)setComputePipelineState:(id)state { use(&_impl, &_sum, 0x5c8); }
- (void)holdFor:(int)milliseconds {
  __atomic_store_n(&fake_holds, 1, __ATOMIC_RELEASE);
  usleep(milliseconds * 1000);
}
@end

@implementation AGXFakeFamilyCommandBuffer_mtlnext
- (void)beginCommandBufferWithAllocator:(AGXFakeFamilyCommandAllocator_mtlnext *)allocator { _allocator = allocator; }
- (AGXFakeFamilyComputeContext_mtlnext *)computeCommandEncoder {
  if (_currentEncoder) fail("A command encoder is already encoding to this command buffer");
  return _currentEncoder = [[AGXFakeFamilyComputeContext_mtlnext alloc] initWithCommandBuffer:self config:0];
}
- (void)endCommandBuffer {
  [self validate];
  [self commitEncoder];
}
@end

@implementation _MTLDevice
@end

@implementation AGXFakeDevice
- (BOOL)disableEncoderCoalescing { return NO; }
- (BOOL)disableComputeEncoderCoalescing { return NO; }
@end

@implementation AGXFakeFamilyThreadedRenderPass
- (AGXFakeFamilyComputeContext *)renderCommandEncoder { return [[AGXFakeFamilyComputeContext alloc] initWithCommandBuffer:nil config:0]; }
@end

@implementation AGXFakeFamilyCommandBuffer (Parallel)
- (AGXFakeFamilyThreadedRenderPass *)parallelRenderCommandEncoderWithDescriptor:(id)descriptor {
  [self commitEncoder];
  return _currentEncoder = [[AGXFakeFamilyThreadedRenderPass alloc] initWithCommandBuffer:self config:0];
}
@end

@implementation MPSFakeCommandBuffer
- (AGXFakeFamilyComputeContext *)computeCommandEncoder { return [_commandBuffer computeCommandEncoder]; }
- (void)commit { [_commandBuffer commit]; }
@end
