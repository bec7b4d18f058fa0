/* Lets no Vulkan buffer be destroyed. `make test-gpu` preloads it, for a fault of Mesa's llvmpipe (seen with 22.3.6).

   llama.cpp binds descriptor sets that have room for all buffers of its largest shader. A shader that needs fewer
   leaves the others as they were, so they may name a buffer that has been destroyed since, which Vulkan allows where
   the shader does not use it. llvmpipe seems to count references of these as well, in memory that was freed: the
   process dies some steps later, in the driver's thread. Vulkan's validation layers complain of no command.

   The memory behind a buffer is freed as ever; only the handle is kept. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>

typedef void (*function)(void);
typedef function (*lookup)(void *, const char *);

static lookup instance_functions, device_functions;

static void keep(void *device, uint64_t buffer, const void *allocator) {
    (void)device, (void)buffer, (void)allocator;
}

static function of_device(void *device, const char *name) {
    function found = device_functions(device, name);
    return found && !strcmp(name, "vkDestroyBuffer") ? (function)keep : found;
}

function vkGetInstanceProcAddr(void *instance, const char *name) {
    if (!instance_functions)
        instance_functions = (lookup)dlsym(dlopen("libvulkan.so.1", RTLD_NOW), "vkGetInstanceProcAddr");
    function found = instance_functions(instance, name);
    if (!found)
        return found;
    if (!strcmp(name, "vkGetDeviceProcAddr")) {
        device_functions = (lookup)found;
        return (function)of_device;
    }
    return strcmp(name, "vkDestroyBuffer") ? found : (function)keep;
}
