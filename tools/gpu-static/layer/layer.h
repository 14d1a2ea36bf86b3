/* What the three parts of the layer share; layer.c says why there is one. */
#pragma once
#define VK_NO_PROTOTYPES
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vulkan/vulkan.h>

typedef struct Device {
  void *key;
  VkDevice handle;
  char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
  uint32_t driver_version;
  PFN_vkGetDeviceProcAddr next;
  PFN_vkCreateComputePipelines create_compute_pipelines;
  PFN_vkCreateShaderModule create_shader_module;
  PFN_vkDestroyShaderModule destroy_shader_module;
  PFN_vkGetBufferMemoryRequirements buffer_requirements;
  PFN_vkGetBufferMemoryRequirements2 buffer_requirements2;
  PFN_vkGetImageMemoryRequirements image_requirements;
  PFN_vkGetImageMemoryRequirements2 image_requirements2;
  PFN_vkGetPipelineExecutablePropertiesKHR properties;
  PFN_vkGetPipelineExecutableStatisticsKHR statistics;
  PFN_vkGetPipelineExecutableInternalRepresentationsKHR representations;
  struct Device *rest;
} Device;

typedef struct Entry {
  const char *name;
  void *function;
} Entry;

/* The loader's dispatch table, in the first word of every dispatchable object: the same for a device and its queues. */
static inline void *key_of(const void *dispatchable) { return *(void *const *)dispatchable; }

/* layer.c: the device that owns a dispatchable handle. The layer saw every device's creation, so there is one. */
Device *device_of(const void *handle);

/* idle.c: the functions that do nothing and succeed; NULL for a name that is none of them. */
void *idle_function(const char *name);

/* report.c: the functions that watch shader modules and pipelines; NULL for a name that is none of them. */
void *report_function(const char *name);
