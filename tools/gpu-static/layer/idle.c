/* Memory, descriptor sets, commands and waits of a device that has none of them: nothing happens, and all succeed. */
#include "layer.h"
#include <stdlib.h>
#include <string.h>

/*
 * Takes any arguments; returns VK_SUCCESS where the caller wants a result. (A call through another type is undefined in
 * C, and well defined in the calling conventions of 64-bit Linux: the caller cleans up.)
 */
static intptr_t nothing(void) { return VK_SUCCESS; }

/* A fence, semaphore, pool or set that nobody looks at: a number. */
static VKAPI_ATTR VkResult VKAPI_CALL make_token(VkDevice d, const void *info, const VkAllocationCallbacks *a, uint64_t *out) {
  (void)d, (void)info, (void)a;
  static uint64_t last = 0;
  *out = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL make_sets(VkDevice d, const VkDescriptorSetAllocateInfo *info, VkDescriptorSet *out) {
  for (uint32_t i = 0; i < info->descriptorSetCount; i++) make_token(d, NULL, NULL, (uint64_t *)&out[i]);
  return VK_SUCCESS;
}

/* Of a timeline semaphore: all work is done. */
static VKAPI_ATTR VkResult VKAPI_CALL counter(VkDevice d, VkSemaphore s, uint64_t *value) {
  (void)d, (void)s;
  *value = UINT64_MAX / 2;
  return VK_SUCCESS;
}

static VKAPI_ATTR VkResult VKAPI_CALL query_results(VkDevice d, VkQueryPool p, uint32_t first, uint32_t count, size_t size,
                                                    void *data, VkDeviceSize stride, VkQueryResultFlags flags) {
  (void)d, (void)p, (void)first, (void)count, (void)stride, (void)flags;
  memset(data, 0, size);
  return VK_SUCCESS;
}

/* ---- command buffers: a pool owns those that were made from it ---------------------------------------------------------- */

typedef struct Commands {
  void *key; /* first: the loader's */
  struct Commands *rest;
} Commands;

typedef struct Pool {
  Commands *first;
} Pool;

static VKAPI_ATTR VkResult VKAPI_CALL make_pool(VkDevice d, const void *info, const VkAllocationCallbacks *a, VkCommandPool *out) {
  (void)d, (void)info, (void)a;
  Pool *pool = calloc(1, sizeof *pool);
  *out = (VkCommandPool)pool;
  return pool ? VK_SUCCESS : VK_ERROR_OUT_OF_HOST_MEMORY;
}

static VKAPI_ATTR void VKAPI_CALL destroy_pool(VkDevice d, VkCommandPool handle, const VkAllocationCallbacks *a) {
  (void)d, (void)a;
  Pool *pool = (Pool *)handle;
  while (pool && pool->first) {
    Commands *gone = pool->first;
    pool->first = gone->rest;
    free(gone);
  }
  free(pool);
}

static VKAPI_ATTR void VKAPI_CALL free_commands(VkDevice d, VkCommandPool handle, uint32_t count, const VkCommandBuffer *list) {
  (void)d;
  for (uint32_t i = 0; i < count; i++)
    for (Commands **at = &((Pool *)handle)->first; *at; at = &(*at)->rest)
      if ((VkCommandBuffer)*at == list[i]) {
        Commands *gone = *at;
        *at = gone->rest;
        free(gone);
        break;
      }
}

static VKAPI_ATTR VkResult VKAPI_CALL make_commands(VkDevice d, const VkCommandBufferAllocateInfo *info, VkCommandBuffer *out) {
  Pool *pool = (Pool *)info->commandPool;
  memset(out, 0, info->commandBufferCount * sizeof *out);
  for (uint32_t i = 0; i < info->commandBufferCount; i++) {
    Commands *made = calloc(1, sizeof *made);
    if (!made) {
      free_commands(d, info->commandPool, i, out);
      memset(out, 0, info->commandBufferCount * sizeof *out);
      return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    *made = (Commands){key_of(d), pool->first};
    pool->first = made;
    out[i] = (VkCommandBuffer)made;
  }
  return VK_SUCCESS;
}

/* ---- memory: the host's, made when it is first mapped; the GPU's own is a promise --------------------------------------- */

typedef struct Memory {
  VkDeviceSize size;
  char *bytes;
} Memory;

enum { DEVICE_TYPE, HOST_TYPE, TYPES };
static const VkDeviceSize HEAP = (VkDeviceSize)16 << 30;

static VKAPI_ATTR void VKAPI_CALL memory_properties(VkPhysicalDevice d, VkPhysicalDeviceMemoryProperties *out) {
  (void)d;
  memset(out, 0, sizeof *out);
  out->memoryHeapCount = out->memoryTypeCount = TYPES;
  out->memoryHeaps[DEVICE_TYPE] = (VkMemoryHeap){HEAP, VK_MEMORY_HEAP_DEVICE_LOCAL_BIT};
  out->memoryHeaps[HOST_TYPE] = (VkMemoryHeap){HEAP, 0};
  out->memoryTypes[DEVICE_TYPE] = (VkMemoryType){VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT, DEVICE_TYPE};
  VkMemoryPropertyFlags host =
    VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT | VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
  out->memoryTypes[HOST_TYPE] = (VkMemoryType){host, HOST_TYPE};
}

static VKAPI_ATTR void VKAPI_CALL memory_properties2(VkPhysicalDevice d, VkPhysicalDeviceMemoryProperties2 *out) {
  memory_properties(d, &out->memoryProperties);
  for (VkBaseOutStructure *s = out->pNext; s; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MEMORY_BUDGET_PROPERTIES_EXT) {
      VkPhysicalDeviceMemoryBudgetPropertiesEXT *budget = (void *)s;
      memset(budget->heapBudget, 0, sizeof budget->heapBudget);
      memset(budget->heapUsage, 0, sizeof budget->heapUsage);
      for (int i = 0; i < TYPES; i++) budget->heapBudget[i] = HEAP;
    }
}

/* Sizes and alignments are the driver's; the kinds of memory are the layer's. */
enum { ANY_TYPE = (1 << TYPES) - 1 };

static VKAPI_ATTR void VKAPI_CALL buffer_requirements(VkDevice d, VkBuffer buffer, VkMemoryRequirements *out) {
  device_of(d)->buffer_requirements(d, buffer, out);
  out->memoryTypeBits = ANY_TYPE;
}

static VKAPI_ATTR void VKAPI_CALL buffer_requirements2(VkDevice d, const VkBufferMemoryRequirementsInfo2 *info,
                                                       VkMemoryRequirements2 *out) {
  device_of(d)->buffer_requirements2(d, info, out);
  out->memoryRequirements.memoryTypeBits = ANY_TYPE;
}

static VKAPI_ATTR void VKAPI_CALL image_requirements(VkDevice d, VkImage image, VkMemoryRequirements *out) {
  device_of(d)->image_requirements(d, image, out);
  out->memoryTypeBits = ANY_TYPE;
}

static VKAPI_ATTR void VKAPI_CALL image_requirements2(VkDevice d, const VkImageMemoryRequirementsInfo2 *info,
                                                      VkMemoryRequirements2 *out) {
  device_of(d)->image_requirements2(d, info, out);
  out->memoryRequirements.memoryTypeBits = ANY_TYPE;
}

static VKAPI_ATTR VkResult VKAPI_CALL allocate_memory(VkDevice d, const VkMemoryAllocateInfo *info,
                                                      const VkAllocationCallbacks *a, VkDeviceMemory *out) {
  (void)d, (void)a;
  Memory *memory = calloc(1, sizeof *memory);
  *out = (VkDeviceMemory)memory;
  if (!memory) return VK_ERROR_OUT_OF_HOST_MEMORY;
  memory->size = info->allocationSize;
  return VK_SUCCESS;
}

static VKAPI_ATTR void VKAPI_CALL free_memory(VkDevice d, VkDeviceMemory handle, const VkAllocationCallbacks *a) {
  (void)d, (void)a;
  Memory *memory = (Memory *)handle;
  if (!memory) return;
  free(memory->bytes);
  free(memory);
}

static VKAPI_ATTR VkResult VKAPI_CALL map_memory(VkDevice d, VkDeviceMemory handle, VkDeviceSize offset, VkDeviceSize size,
                                                 VkMemoryMapFlags flags, void **out) {
  (void)d, (void)size, (void)flags;
  Memory *memory = (Memory *)handle;
  if (!memory->bytes) memory->bytes = calloc(1, memory->size);
  if (!memory->bytes) return VK_ERROR_MEMORY_MAP_FAILED;
  *out = memory->bytes + offset;
  return VK_SUCCESS;
}

/* ---- names -------------------------------------------------------------------------------------------------------------- */

static const Entry ENTRIES[] = {
  {"vkAllocateMemory", allocate_memory},
  {"vkFreeMemory", free_memory},
  {"vkMapMemory", map_memory},
  {"vkUnmapMemory", nothing},
  {"vkFlushMappedMemoryRanges", nothing},
  {"vkInvalidateMappedMemoryRanges", nothing},
  {"vkGetPhysicalDeviceMemoryProperties", memory_properties},
  {"vkGetPhysicalDeviceMemoryProperties2", memory_properties2},
  {"vkGetPhysicalDeviceMemoryProperties2KHR", memory_properties2},
  {"vkGetBufferMemoryRequirements", buffer_requirements},
  {"vkGetBufferMemoryRequirements2", buffer_requirements2},
  {"vkGetBufferMemoryRequirements2KHR", buffer_requirements2},
  {"vkGetImageMemoryRequirements", image_requirements},
  {"vkGetImageMemoryRequirements2", image_requirements2},
  {"vkGetImageMemoryRequirements2KHR", image_requirements2},
  {"vkBindBufferMemory", nothing},
  {"vkBindBufferMemory2", nothing},
  {"vkBindBufferMemory2KHR", nothing},
  {"vkBindImageMemory", nothing},
  {"vkBindImageMemory2", nothing},
  {"vkBindImageMemory2KHR", nothing},
  /* Descriptor sets. Their layouts are the driver's, as pipelines are compiled with them. */
  {"vkCreateDescriptorPool", make_token},
  {"vkDestroyDescriptorPool", nothing},
  {"vkResetDescriptorPool", nothing},
  {"vkAllocateDescriptorSets", make_sets},
  {"vkFreeDescriptorSets", nothing},
  {"vkUpdateDescriptorSets", nothing},
  {"vkUpdateDescriptorSetWithTemplate", nothing},
  {"vkUpdateDescriptorSetWithTemplateKHR", nothing},
  /* Fences, semaphores and queries. */
  {"vkCreateFence", make_token},
  {"vkDestroyFence", nothing},
  {"vkGetFenceStatus", nothing},
  {"vkResetFences", nothing},
  {"vkWaitForFences", nothing},
  {"vkCreateSemaphore", make_token},
  {"vkDestroySemaphore", nothing},
  {"vkWaitSemaphores", nothing},
  {"vkWaitSemaphoresKHR", nothing},
  {"vkSignalSemaphore", nothing},
  {"vkSignalSemaphoreKHR", nothing},
  {"vkGetSemaphoreCounterValue", counter},
  {"vkGetSemaphoreCounterValueKHR", counter},
  {"vkCreateQueryPool", make_token},
  {"vkDestroyQueryPool", nothing},
  {"vkResetQueryPool", nothing},
  {"vkResetQueryPoolEXT", nothing},
  {"vkGetQueryPoolResults", query_results},
  /* Commands, besides vkCmd*. */
  {"vkCreateCommandPool", make_pool},
  {"vkDestroyCommandPool", destroy_pool},
  {"vkResetCommandPool", nothing},
  {"vkTrimCommandPool", nothing},
  {"vkAllocateCommandBuffers", make_commands},
  {"vkFreeCommandBuffers", free_commands},
  {"vkBeginCommandBuffer", nothing},
  {"vkEndCommandBuffer", nothing},
  {"vkResetCommandBuffer", nothing},
  {"vkQueueSubmit", nothing},
  {"vkQueueSubmit2", nothing},
  {"vkQueueSubmit2KHR", nothing},
  {"vkQueueBindSparse", nothing},
  {"vkQueueWaitIdle", nothing},
  {"vkDeviceWaitIdle", nothing},
};

void *idle_function(const char *name) {
  if (!strncmp(name, "vkCmd", 5)) return nothing;
  for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++)
    if (!strcmp(name, ENTRIES[i].name)) return ENTRIES[i].function;
  return NULL;
}
