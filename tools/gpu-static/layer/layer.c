/*
 * A Vulkan layer for a driver that compiles for a GPU that is not there.
 *
 * Mesa's RADV makes a "null hardware" device for every AMD GPU that RADV_FORCE_FAMILY names. It compiles shaders as for
 * the real GPU, but it has no memory and cannot record or run commands: Dawn (WebGPU) crashes on it. This layer stands
 * between the two:
 *
 *   idle.c    answers memory, descriptor sets, commands and waits: nothing happens, and all succeed. What is mapped is
 *             real memory, full of zeros.
 *   report.c  asks the driver about every compute pipeline and writes the answer to a file.
 *   layer.c   keeps the instances and devices, and gives the Vulkan loader the functions of all three.
 *
 * Settings, all in the environment:
 *
 *   GPU_STATIC_OUT   file for the report: one JSON object a line and pipeline. Without it there is no report.
 *   GPU_STATIC_DIR   folder for <hash>.spv and, with GPU_STATIC_ISA=1, <hash>.<name>.txt (NIR, ACO IR, assembly).
 *
 * It assumes 64-bit handles. Built by layer.mjs for the tests and never shipped.
 */
#include "layer.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <vulkan/vk_layer.h>

#define EXPORT __attribute__((visibility("default")))

_Static_assert(sizeof(void *) == 8, "the layer keeps pointers in Vulkan's 64-bit handles");

typedef struct Instance {
  void *key;
  VkInstance handle;
  PFN_vkGetInstanceProcAddr next;
  struct Instance *rest;
} Instance;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the two lists */
static Instance *instances;
static Device *devices;

/* Of an instance or one of its physical devices. */
static Instance *instance_of(const void *handle) {
  pthread_mutex_lock(&lock);
  Instance *found = instances;
  while (found && found->key != key_of(handle)) found = found->rest;
  pthread_mutex_unlock(&lock);
  return found;
}

Device *device_of(const void *handle) {
  pthread_mutex_lock(&lock);
  Device *found = devices;
  while (found && found->key != key_of(handle)) found = found->rest;
  pthread_mutex_unlock(&lock);
  return found;
}

/* ---- instances ------------------------------------------------------------------------------------------------------- */

static VKAPI_ATTR VkResult VKAPI_CALL create_instance(const VkInstanceCreateInfo *info, const VkAllocationCallbacks *a,
                                                      VkInstance *out) {
  VkLayerInstanceCreateInfo *link = (void *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_INSTANCE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (void *)link->pNext;
  if (!link) return VK_ERROR_INITIALIZATION_FAILED;
  Instance *instance = calloc(1, sizeof *instance);
  if (!instance) return VK_ERROR_OUT_OF_HOST_MEMORY;
  PFN_vkGetInstanceProcAddr next = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext; /* for the layer below */
  PFN_vkCreateInstance create = (PFN_vkCreateInstance)next(VK_NULL_HANDLE, "vkCreateInstance");
  VkResult result = create ? create(info, a, out) : VK_ERROR_INITIALIZATION_FAILED;
  if (result != VK_SUCCESS) {
    free(instance);
    return result;
  }
  pthread_mutex_lock(&lock);
  *instance = (Instance){key_of(*out), *out, next, instances};
  instances = instance;
  pthread_mutex_unlock(&lock);
  return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_instance(VkInstance handle, const VkAllocationCallbacks *a) {
  if (!handle) return;
  pthread_mutex_lock(&lock);
  Instance **at = &instances;
  while (*at && (*at)->handle != handle) at = &(*at)->rest;
  Instance *instance = *at;
  if (instance) *at = instance->rest;
  pthread_mutex_unlock(&lock);
  if (!instance) return;
  ((PFN_vkDestroyInstance)instance->next(handle, "vkDestroyInstance"))(handle, a);
  free(instance);
}

/* ---- devices --------------------------------------------------------------------------------------------------------- */

/* The application's device, with statistics of pipelines switched on. */
static VkResult create_with_statistics(PFN_vkCreateDevice create, VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                       const VkAllocationCallbacks *a, VkDevice *out) {
  VkDeviceCreateInfo own = *info;
  const char **names = calloc(info->enabledExtensionCount + 1, sizeof *names);
  if (!names) return VK_ERROR_OUT_OF_HOST_MEMORY;
  bool has = false;
  for (uint32_t i = 0; i < info->enabledExtensionCount; i++) {
    names[i] = info->ppEnabledExtensionNames[i];
    has |= !strcmp(names[i], VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME);
  }
  VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR feature = {
    .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
    .pNext = (void *)info->pNext,
    .pipelineExecutableInfo = VK_TRUE,
  };
  if (!has) {
    names[own.enabledExtensionCount++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    own.pNext = &feature;
  }
  own.ppEnabledExtensionNames = names;
  VkResult result = create(physical, &own, a, out);
  free(names);
  return result;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_device(VkPhysicalDevice physical, const VkDeviceCreateInfo *info,
                                                    const VkAllocationCallbacks *a, VkDevice *out) {
  VkLayerDeviceCreateInfo *link = (void *)info->pNext;
  while (link && !(link->sType == VK_STRUCTURE_TYPE_LOADER_DEVICE_CREATE_INFO && link->function == VK_LAYER_LINK_INFO))
    link = (void *)link->pNext;
  Instance *instance = instance_of(physical);
  if (!link || !instance) return VK_ERROR_INITIALIZATION_FAILED;
  Device *d = calloc(1, sizeof *d);
  if (!d) return VK_ERROR_OUT_OF_HOST_MEMORY;
  PFN_vkGetInstanceProcAddr of_instance = link->u.pLayerInfo->pfnNextGetInstanceProcAddr;
  PFN_vkGetDeviceProcAddr next = link->u.pLayerInfo->pfnNextGetDeviceProcAddr;
  link->u.pLayerInfo = link->u.pLayerInfo->pNext;
  PFN_vkCreateDevice create = (PFN_vkCreateDevice)of_instance(instance->handle, "vkCreateDevice");
  VkResult result = create ? create_with_statistics(create, physical, info, a, out) : VK_ERROR_INITIALIZATION_FAILED;
  if (result != VK_SUCCESS) {
    free(d);
    return result;
  }
  VkPhysicalDeviceProperties properties;
  ((PFN_vkGetPhysicalDeviceProperties)of_instance(instance->handle, "vkGetPhysicalDeviceProperties"))(physical, &properties);
  memcpy(d->name, properties.deviceName, sizeof d->name);
  d->driver_version = properties.driverVersion;
  d->key = key_of(*out);
  d->handle = *out;
  d->next = next;
#define GET(field, name) d->field = (PFN_##name)next(*out, #name)
  GET(create_compute_pipelines, vkCreateComputePipelines);
  GET(create_shader_module, vkCreateShaderModule);
  GET(destroy_shader_module, vkDestroyShaderModule);
  GET(buffer_requirements, vkGetBufferMemoryRequirements);
  GET(buffer_requirements2, vkGetBufferMemoryRequirements2);
  GET(image_requirements, vkGetImageMemoryRequirements);
  GET(image_requirements2, vkGetImageMemoryRequirements2);
  GET(properties, vkGetPipelineExecutablePropertiesKHR);
  GET(statistics, vkGetPipelineExecutableStatisticsKHR);
  GET(representations, vkGetPipelineExecutableInternalRepresentationsKHR);
#undef GET
  pthread_mutex_lock(&lock);
  d->rest = devices;
  devices = d;
  pthread_mutex_unlock(&lock);
  return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_device(VkDevice handle, const VkAllocationCallbacks *a) {
  if (!handle) return;
  pthread_mutex_lock(&lock);
  Device **at = &devices;
  while (*at && (*at)->handle != handle) at = &(*at)->rest;
  Device *d = *at;
  if (d) *at = d->rest;
  pthread_mutex_unlock(&lock);
  if (!d) return;
  ((PFN_vkDestroyDevice)d->next(handle, "vkDestroyDevice"))(handle, a);
  free(d);
}

/* ---- what the loader asks for ------------------------------------------------------------------------------------------ */

static void *own_function(const char *name) {
  if (!strcmp(name, "vkDestroyDevice")) return destroy_device;
  void *found = report_function(name);
  return found ? found : idle_function(name);
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GpuStatic_GetDeviceProcAddr(VkDevice device, const char *name) {
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)GpuStatic_GetDeviceProcAddr;
  Device *d = device_of(device);
  PFN_vkVoidFunction real = d ? d->next(device, name) : NULL;
  void *own = real ? own_function(name) : NULL; /* what the driver does not offer, the layer does not offer */
  return own ? (PFN_vkVoidFunction)own : real;
}

EXPORT VKAPI_ATTR PFN_vkVoidFunction VKAPI_CALL GpuStatic_GetInstanceProcAddr(VkInstance handle, const char *name) {
  if (!strcmp(name, "vkGetInstanceProcAddr")) return (PFN_vkVoidFunction)GpuStatic_GetInstanceProcAddr;
  if (!strcmp(name, "vkGetDeviceProcAddr")) return (PFN_vkVoidFunction)GpuStatic_GetDeviceProcAddr;
  if (!strcmp(name, "vkCreateInstance")) return (PFN_vkVoidFunction)create_instance;
  if (!strcmp(name, "vkDestroyInstance")) return (PFN_vkVoidFunction)destroy_instance;
  if (!strcmp(name, "vkCreateDevice")) return (PFN_vkVoidFunction)create_device;
  Instance *instance = handle ? instance_of(handle) : NULL;
  PFN_vkVoidFunction real = instance ? instance->next(handle, name) : NULL;
  void *own = real ? own_function(name) : NULL;
  return own ? (PFN_vkVoidFunction)own : real;
}

EXPORT VKAPI_ATTR VkResult VKAPI_CALL vkNegotiateLoaderLayerInterfaceVersion(VkNegotiateLayerInterface *version) {
  if (version->loaderLayerInterfaceVersion < 2) return VK_ERROR_INITIALIZATION_FAILED;
  version->loaderLayerInterfaceVersion = 2;
  version->pfnGetInstanceProcAddr = GpuStatic_GetInstanceProcAddr;
  version->pfnGetDeviceProcAddr = GpuStatic_GetDeviceProcAddr;
  version->pfnGetPhysicalDeviceProcAddr = NULL;
  return VK_SUCCESS;
}
