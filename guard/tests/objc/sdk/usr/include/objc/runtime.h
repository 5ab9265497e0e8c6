#pragma once
#include <objc/objc.h>
#include <stddef.h>
typedef struct objc_method *Method;
Class objc_getClass(const char *);
Class objc_allocateClassPair(Class, const char *, size_t);
void objc_registerClassPair(Class);
Class object_setClass(id, Class);
Class class_getSuperclass(Class);
size_t class_getInstanceSize(Class);
BOOL class_respondsToSelector(Class, SEL);
IMP class_getMethodImplementation(Class, SEL);
Method *class_copyMethodList(Class, unsigned *);
SEL method_getName(Method);
const char *sel_getName(SEL);
