/* A driver that crashes just as AGX does, for GNU's Objective-C runtime on arm64 Linux and for Apple's on a Mac. Where it uses what
 * only one of the two has, `apple.m` and `gnu.m` say so.
 *
 * Its encoders read `_impl` without a lock and without a test, at the offsets of the published crashes; destroyImpl gives
 * `_impl` back to a pool, lets the pool's lock go, and only then clears the instance variable; a second endEncoding is an
 * assertion; a message to a freed object faults in the runtime's lookup. */
#include <objc/objc.h>
#include <objc/runtime.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

typedef struct { uint64_t width, height, depth; } Size;          /* as MTLSize: more than 16 bytes, passed by address */
typedef struct { double x, y, z, w; } Vector;                     /* four doubles: in vector registers */
typedef struct { uint64_t location, length; } Range;              /* as NSRange: in two registers */
typedef struct { Size origin, extent; } Region;                   /* as MTLRegion */
typedef struct { float r; double g; float b; } Mixed;             /* in memory when returned */

#define IMPL_SIZE 0x800

/* What the fake counts itself, to be held against the guard's counters. */
extern uint64_t fake_dispatched, fake_live_objects;
/* a thread is inside -holdFor: */
extern int fake_holds;
extern int fake_open, fake_most_open;
/* A deallocated object keeps its memory and loses its class, so that every later message to it faults. */
extern int fake_poisons;
/* The next object of the same size lies where the one that was deallocated last lay. */
extern int fake_reuses;
/* Called inside deferredEndEncoding, if set. */
extern void (*fake_during_end)(void);
/* Throws a C++ exception: throws.cc has one. */
extern void (*fake_throw)(int number);

/* Neither runtime has a root class that both have, and the guard hooks what lies below the root. */
#ifdef __clang__
__attribute__((objc_root_class))
#endif
@interface FakeObject {
  Class isa;
  int32_t _references;
}
+ (void)initialize; /* Apple's runtime sends it to every class */
+ (id)alloc;
- (id)init;
- (id)retain;
- (void)release;
- (int32_t)retainCount;
- (BOOL)respondsToSelector:(SEL)selector;
- (uintptr_t)hash;
- (void)dealloc;
@end

@interface IOGPUFakeCommandEncoder : FakeObject {
@public
  char *_impl;
  int _began, _ended;
  uint64_t _sum;
  id _buffer; /* not retained: the buffer outlives its encoders here */
}
- (id)initWithCommandBuffer:(id)buffer config:(int)config;
- (void)endEncoding;
- (void)insertDebugSignpost:(const char *)text;       /* inherited by all encoders */
- (uint64_t)sum;
@end

@interface AGXFakeFamilyComputeContext : IOGPUFakeCommandEncoder
- (void)setComputePipelineState:(id)state;                                     /* reads _impl + 0x5c8 */
- (void)prepareForEnqueue;                                                     /* 0x98 */
- (void)allocateUSCSpillBuffer;                                                /* 0x184 */
- (void)dispatchThreads:(Size)threads threadsPerThreadgroup:(Size)group;       /* 0x5f4 */
- (void)setBuffer:(id)buffer offset:(uint64_t)offset atIndex:(uint64_t)index;
- (void)reInitWithCommandBuffer:(id)buffer;
- (void)deferredEndEncoding;
- (void)destroyImpl;
/* every shape of a method */
- (int)addBytes:(int8_t)a shorts:(int16_t)b ints:(int32_t)c longs:(int64_t)d;
- (float)addFloats:(float)a and:(float)b;
- (double)addDoubles:(double)a and:(double)b and:(double)c;
- (double)mix:(int)a with:(double)b with:(int)c with:(float)d;
- (uint64_t)volumeOf:(Size)size;
- (uint64_t)volumeAt:(const Size *)size;
- (double)lengthOf:(Vector)vector;
- (Range)rangeFrom:(uint64_t)from length:(uint64_t)length;
- (Size)sizeOf:(uint64_t)a and:(uint64_t)b and:(uint64_t)c;
- (Region)regionOf:(Size)a and:(Size)b;
- (Vector)vectorOf:(double)a and:(double)b;
- (Mixed)mixedOf:(float)a and:(double)b and:(float)c;
- (uint64_t)many:(uint64_t)a :(uint64_t)b :(uint64_t)c :(uint64_t)d :(uint64_t)e :(uint64_t)f :(uint64_t)g :(uint64_t)h
                :(uint64_t)i :(uint64_t)j :(double)k :(double)l :(double)m :(double)n :(double)o :(double)p :(double)q :(double)r
                :(double)s :(int8_t)t :(Size)u;
- (int64_t)sumFormat:(int)count, ...;
- (id)device;
- (BOOL)isCoalescable;
/* nesting, and other ways out */
- (uint64_t)nest:(int)depth;
- (uint64_t)callOther:(AGXFakeFamilyComputeContext *)other meeting:(void *)barrier;
- (void)leaveByJump:(void *)buffer;
- (void)holdFor:(int)milliseconds;
- (void)endYourself;
- (BOOL)askOther:(AGXFakeFamilyComputeContext *)other; /* a tail call */
- (void)exitThread;
- (void)throwItself;
- (void)throwThrough:(AGXFakeFamilyComputeContext *)other;
- (int)throwNumber:(int)number; /* by fake_throw */
- (int)throwNumber:(int)number from:(AGXFakeFamilyComputeContext *)other;
- (void)throwWith:(uint64_t)a :(uint64_t)b :(uint64_t)c :(uint64_t)d :(uint64_t)e :(uint64_t)f :(uint64_t)g;
- (int)backtraceInto:(void **)frames count:(int)count;
- (id)initFailing;
- (id)initAsAnother;
@end

@interface AGXFakeFamilySampledComputeContext : AGXFakeFamilyComputeContext
@end
/* Kept by its buffer too, and its block is freed, not pooled. */
@interface AGXFakeFamilyBlitContext : IOGPUFakeCommandEncoder
- (void)copyFromBuffer:(id)a toBuffer:(id)b size:(uint64_t)size;
- (void)deferredEndEncoding;
@end
@interface AGXFakeFamilyRenderContext : IOGPUFakeCommandEncoder
- (void)drawPrimitives:(int)type vertexStart:(uint64_t)start vertexCount:(uint64_t)count;
- (void)deferredEndEncoding:(BOOL)stores;
@end
/* The encoder of acceleration structures: never kept. */
@interface AGXFakeFamilyRayTracingGPUBuilder : IOGPUFakeCommandEncoder
- (void)buildAccelerationStructure:(id)structure;
@end

/* Its `_impl` is not a pointer: the first word may be zero while it is in use. */
@interface AGXFakeFamilyResourceStateContext : FakeObject {
  struct { uint64_t count, bytes; } _impl;
}
- (id)initWithCount:(uint64_t)count;
- (uint64_t)update:(uint64_t)count;
- (_Complex double)phase; /* returns a type that the guard does not understand */
- (void)endEncoding;
@end

/* As IOGPU's: one current encoder, and no lock anywhere. */
@interface IOGPUFakeCommandBuffer : FakeObject {
  id _currentEncoder;
  int _committed;
}
- (void)setCurrentEncoder:(id)encoder;
- (void)commitEncoder;
- (void)validate;
- (void)commit;
- (void)enqueue;
- (void)encodeSignalEvent:(id)event value:(uint64_t)value;
- (void)addCompletedHandler:(void (*)(id))handler;   /* the fake's handlers are functions; commit calls them */
- (void)waitUntilCompleted;
@end

/* Makes encoders inside factories, and keeps an ended encoder of each of three kinds to coalesce the next one with it: it reads the
 * compute encoder's `_impl` as an instance variable, without a lock and without a test, and ends what it keeps from every factory, commit
 * and event method. */
@interface AGXFakeFamilyCommandBuffer : IOGPUFakeCommandBuffer {
  AGXFakeFamilyComputeContext *_previousComputeCommandEncoder;
  AGXFakeFamilyBlitContext *_previousBlitCommandEncoder;
  AGXFakeFamilyRenderContext *_previousRenderCommandEncoder;
  void (*_handler)(id);
}
- (AGXFakeFamilyComputeContext *)computeCommandEncoder;
- (AGXFakeFamilyComputeContext *)computeCommandEncoderWithConfig:(int)config;
- (void)encodeWorkForEvent:(id)event;         /* makes and ends an encoder of its own, so that none is open in between */
- (AGXFakeFamilyBlitContext *)blitCommandEncoder;
- (AGXFakeFamilyRenderContext *)renderCommandEncoderWithDescriptor:(id)descriptor;
- (AGXFakeFamilyRayTracingGPUBuilder *)accelerationStructureCommandEncoder;
- (id)unknownCommandEncoder;
- (AGXFakeFamilyComputeContext *)previousComputeCommandEncoder;
- (void)setPreviousComputeCommandEncoder:(AGXFakeFamilyComputeContext *)encoder;
- (void)setPreviousBlitCommandEncoder:(AGXFakeFamilyBlitContext *)encoder;
- (void)setPreviousRenderCommandEncoder:(AGXFakeFamilyRenderContext *)encoder;
- (BOOL)isEncoderCoalescingDisabled;          /* asked once per process, each of them */
- (BOOL)isComputeEncoderCoalescingDisabled;
- (BOOL)askPrevious;
@end

/* Metal 4's: the buffer is begun with an allocator, which is not guarded, and ended; its queue commits. */
@interface AGXFakeFamilyCommandAllocator_mtlnext : FakeObject
- (void)reset;
@end
@interface AGXFakeFamilyComputeContext_mtlnext : IOGPUFakeCommandEncoder
- (void)setComputePipelineState:(id)state;
- (void)holdFor:(int)milliseconds;
@end
@interface AGXFakeFamilyCommandBuffer_mtlnext : IOGPUFakeCommandBuffer {
  AGXFakeFamilyCommandAllocator_mtlnext *_allocator;
}
- (void)beginCommandBufferWithAllocator:(AGXFakeFamilyCommandAllocator_mtlnext *)allocator;
- (AGXFakeFamilyComputeContext_mtlnext *)computeCommandEncoder;
- (void)endCommandBuffer;
@end

/* Metal's class of devices: it takes no other class from a driver. */
@interface _MTLDevice : FakeObject
@end

/* The driver's device: its properties are asked after the kept encoder's block was read. */
@interface AGXFakeDevice : _MTLDevice
- (BOOL)disableEncoderCoalescing;
- (BOOL)disableComputeEncoderCoalescing;
@end
extern AGXFakeDevice *fake_device;

/* The parallel render encoder: its sub-encoders may each be used by a thread of its own. */
@interface AGXFakeFamilyThreadedRenderPass : IOGPUFakeCommandEncoder
- (AGXFakeFamilyComputeContext *)renderCommandEncoder;
@end
@interface AGXFakeFamilyCommandBuffer (Parallel)
- (AGXFakeFamilyThreadedRenderPass *)parallelRenderCommandEncoderWithDescriptor:(id)descriptor;
@end

/* As MPSCommandBuffer: not of the driver, and hands its calls to the driver's buffer. */
@interface MPSFakeCommandBuffer : FakeObject {
@public
  AGXFakeFamilyCommandBuffer *_commandBuffer;
}
- (AGXFakeFamilyComputeContext *)computeCommandEncoder;
- (void)commit;
@end

/* An encoder class that no list of names holds. */
@interface XYZUnheardOfCommandEncoder : IOGPUFakeCommandEncoder
- (void)work;
@end

/* Where the driver may be stopped, so that a test decides at which step a second thread runs. */
enum { STOP_NOWHERE, STOP_COALESCING, STOP_COMMIT_ENCODER, STOP_ENCODING, STOP_SUBMITTING };
extern void (*fake_stop)(int where);
/* An ended encoder of a command buffer that has not been committed: endEncoding leaves `_impl` where it is. */
extern __thread int fake_defers_end;
