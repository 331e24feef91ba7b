/* The functions of libm that Python calls, for the start-up image: libm is loaded when the first one is called, which hardly
 * any start does. To map it takes a start 0.05 ms. */
#include <dlfcn.h>
#include <stdio.h>
#include <unistd.h>

static void *found(const char *name) {
    static void *library;
    void *function = library || (library = dlopen("libm.so.6", RTLD_NOW)) ? dlsym(library, name) : 0;
    if (function) return function;
    dprintf(2, "pyrun: start-up image: %s\n", dlerror());
    _exit(1);
}

#define FUNCTION(result, name, parameters, arguments)                          \
    result name parameters {                                                   \
        static result(*function) parameters;                                   \
        if (!function) function = (result(*) parameters)found(#name);          \
        return function arguments;                                             \
    }
#define OF_ONE(name) FUNCTION(double, name, (double x), (x))
#define OF_TWO(name) FUNCTION(double, name, (double x, double y), (x, y))

OF_ONE(acos)
OF_ONE(acosh)
OF_ONE(asin)
OF_ONE(asinh)
OF_ONE(atan)
OF_ONE(atanh)
OF_ONE(cbrt)
OF_ONE(ceil)
OF_ONE(cos)
OF_ONE(cosh)
OF_ONE(erf)
OF_ONE(erfc)
OF_ONE(exp)
OF_ONE(exp2)
OF_ONE(expm1)
OF_ONE(floor)
OF_ONE(log)
OF_ONE(log10)
OF_ONE(log1p)
OF_ONE(log2)
OF_ONE(round)
OF_ONE(sin)
OF_ONE(sinh)
OF_ONE(sqrt)
OF_ONE(tan)
OF_ONE(tanh)
OF_TWO(atan2)
OF_TWO(copysign)
OF_TWO(fmod)
OF_TWO(hypot)
OF_TWO(nextafter)
OF_TWO(pow)
FUNCTION(double, fma, (double x, double y, double z), (x, y, z)) /* since Python 3.13 */
FUNCTION(double, frexp, (double x, int *exponent), (x, exponent))
FUNCTION(double, ldexp, (double x, int exponent), (x, exponent))
FUNCTION(double, modf, (double x, double *whole), (x, whole))
FUNCTION(void, sincos, (double x, double *sine, double *cosine), (x, sine, cosine))
