/* What the driver makes of every compute pipeline, by VK_KHR_pipeline_executable_properties. Settings: see layer.c. */
#include "layer.h"
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *setting(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

static bool wants_assembly(void) {
  const char *value = setting("GPU_STATIC_ISA");
  return value && strcmp(value, "0") && setting("GPU_STATIC_DIR");
}

/* ---- files -------------------------------------------------------------------------------------------------------------- */

static void dump(const char *name, const void *data, size_t length) {
  const char *folder = setting("GPU_STATIC_DIR");
  char path[4096];
  if (!folder || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) return;
  FILE *file = fopen(path, "wb");
  if (!file) return;
  fwrite(data, 1, length, file);
  fclose(file);
}

static void quote(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text; text++) {
    unsigned char c = *text;
    if (c == '"' || c == '\\') fprintf(out, "\\%c", c);
    else if (c < 32) fprintf(out, "\\u%04x", c);
    else fputc(c, out);
  }
  fputc('"', out);
}

/* ---- shader modules ------------------------------------------------------------------------------------------------------ */

typedef struct Module {
  VkShaderModule handle;
  uint64_t hash;
  uint32_t workgroup; /* invocations */
  char name[256];
  struct Module *rest;
} Module;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the list, and of the report's file */
static Module *modules;

/* FNV-1a */
static uint64_t hash_of(const void *data, size_t length) {
  uint64_t hash = 1469598103934665603u;
  for (const unsigned char *p = data, *end = p + length; p < end; p++) hash = (hash ^ *p) * 1099511628211u;
  return hash;
}

/* Invocations of a workgroup, from SPIR-V's OpExecutionMode LocalSize; 0 where it says none. */
static uint32_t workgroup_of(const uint32_t *code, size_t words) {
  for (size_t at = 5; at < words;) {
    uint32_t length = code[at] >> 16, operation = code[at] & 0xffff;
    if (length == 0 || at + length > words) return 0;
    if (operation == 16 && length >= 6 && code[at + 2] == 17) return code[at + 3] * code[at + 4] * code[at + 5];
    at += length;
  }
  return 0;
}

static VKAPI_ATTR VkResult VKAPI_CALL create_module(VkDevice device, const VkShaderModuleCreateInfo *info,
                                                    const VkAllocationCallbacks *a, VkShaderModule *out) {
  Module *module = calloc(1, sizeof *module);
  if (!module) return VK_ERROR_OUT_OF_HOST_MEMORY;
  VkResult result = device_of(device)->create_shader_module(device, info, a, out);
  if (result != VK_SUCCESS) {
    free(module);
    return result;
  }
  module->handle = *out;
  module->hash = hash_of(info->pCode, info->codeSize);
  module->workgroup = workgroup_of(info->pCode, info->codeSize / 4);
  char file[64];
  snprintf(file, sizeof file, "%016" PRIx64 ".spv", module->hash);
  dump(file, info->pCode, info->codeSize);
  pthread_mutex_lock(&lock);
  module->rest = modules;
  modules = module;
  pthread_mutex_unlock(&lock);
  return result;
}

static VKAPI_ATTR void VKAPI_CALL destroy_module(VkDevice device, VkShaderModule handle, const VkAllocationCallbacks *a) {
  pthread_mutex_lock(&lock);
  Module **at = &modules;
  while (*at && (*at)->handle != handle) at = &(*at)->rest;
  Module *gone = *at;
  if (gone) *at = gone->rest;
  pthread_mutex_unlock(&lock);
  free(gone);
  device_of(device)->destroy_shader_module(device, handle, a);
}

static VKAPI_ATTR VkResult VKAPI_CALL set_name(VkDevice device, const VkDebugUtilsObjectNameInfoEXT *info) {
  (void)device;
  if (info->objectType != VK_OBJECT_TYPE_SHADER_MODULE) return VK_SUCCESS; /* many others are idle.c's, unknown to the driver */
  const char *name = info->pObjectName ? info->pObjectName : "";
  pthread_mutex_lock(&lock);
  for (Module *m = modules; m; m = m->rest)
    if ((uint64_t)m->handle == info->objectHandle) snprintf(m->name, sizeof m->name, "%s", name);
  pthread_mutex_unlock(&lock);
  return VK_SUCCESS;
}

/* A copy: another thread may destroy the module. */
static Module module_of(VkShaderModule handle) {
  Module found = {0};
  pthread_mutex_lock(&lock);
  for (Module *m = modules; m; m = m->rest)
    if (m->handle == handle) found = *m;
  pthread_mutex_unlock(&lock);
  return found;
}

/* ---- pipelines ------------------------------------------------------------------------------------------------------------ */

static void write_value(FILE *out, const VkPipelineExecutableStatisticKHR *s) {
  switch (s->format) {
  case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR: fprintf(out, "%s", s->value.b32 ? "true" : "false"); break;
  case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR: fprintf(out, "%" PRId64, s->value.i64); break;
  case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR: fprintf(out, "%" PRIu64, s->value.u64); break;
  default: fprintf(out, "%.9g", s->value.f64);
  }
}

static void write_statistics(FILE *out, Device *d, const VkPipelineExecutableInfoKHR *which) {
  uint32_t count = 0;
  if (d->statistics(d->handle, which, &count, NULL) != VK_SUCCESS || count == 0) return;
  VkPipelineExecutableStatisticKHR *list = calloc(count, sizeof *list);
  if (!list) return;
  for (uint32_t i = 0; i < count; i++) list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
  if (d->statistics(d->handle, which, &count, list) == VK_SUCCESS)
    for (uint32_t i = 0; i < count; i++) {
      fputc(',', out);
      quote(out, list[i].name);
      fputc(':', out);
      write_value(out, &list[i]);
    }
  free(list);
}

/* NIR, ACO IR and assembly, each as a file. */
static void dump_representations(Device *d, const VkPipelineExecutableInfoKHR *which, uint64_t hash) {
  uint32_t count = 0;
  if (!d->representations || d->representations(d->handle, which, &count, NULL) != VK_SUCCESS || count == 0) return;
  VkPipelineExecutableInternalRepresentationKHR *list = calloc(count, sizeof *list);
  if (!list) return;
  for (uint32_t i = 0; i < count; i++) list[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INTERNAL_REPRESENTATION_KHR;
  d->representations(d->handle, which, &count, list); /* sizes */
  for (uint32_t i = 0; i < count; i++) list[i].pData = calloc(1, list[i].dataSize + 1);
  d->representations(d->handle, which, &count, list);
  for (uint32_t i = 0; i < count; i++) {
    if (!list[i].pData) continue;
    char name[VK_MAX_DESCRIPTION_SIZE], file[VK_MAX_DESCRIPTION_SIZE + 32];
    snprintf(name, sizeof name, "%s", list[i].name);
    for (char *p = name; *p; p++)
      if (!((*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'))) *p = '_';
    snprintf(file, sizeof file, "%016" PRIx64 ".%s.txt", hash, name);
    dump(file, list[i].pData, strnlen(list[i].pData, list[i].dataSize));
    free(list[i].pData);
  }
  free(list);
}

/* The size of a subgroup that the application asks for; 0 where it leaves that to the driver. */
static uint32_t required_subgroup(const VkComputePipelineCreateInfo *info) {
  for (const VkBaseInStructure *s = info->stage.pNext; s; s = s->pNext)
    if (s->sType == VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_REQUIRED_SUBGROUP_SIZE_CREATE_INFO)
      return ((const VkPipelineShaderStageRequiredSubgroupSizeCreateInfo *)s)->requiredSubgroupSize;
  return 0;
}

/* One line: a compute pipeline has one executable. */
static void write_line(FILE *out, Device *d, VkPipeline pipeline, const VkComputePipelineCreateInfo *info) {
  Module module = module_of(info->stage.module);
  uint32_t version = d->driver_version, count = 1;
  VkPipelineExecutablePropertiesKHR executable = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR};
  VkPipelineInfoKHR of = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
  if (!d->properties || !d->statistics || d->properties(d->handle, &of, &count, &executable) < 0 || count == 0) return;
  VkPipelineExecutableInfoKHR first = {.sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline};
  fprintf(out, "{\"device\":");
  quote(out, d->name);
  fprintf(out, ",\"driver\":\"%u.%u.%u\"", VK_VERSION_MAJOR(version), VK_VERSION_MINOR(version), VK_VERSION_PATCH(version));
  fprintf(out, ",\"module\":");
  quote(out, module.name);
  fprintf(out, ",\"spirv\":\"%016" PRIx64 "\",\"workgroup\":%u", module.hash, module.workgroup);
  fprintf(out, ",\"requiredSubgroup\":%u", required_subgroup(info));
  fprintf(out, ",\"statistics\":{\"Subgroup size\":%u", executable.subgroupSize);
  write_statistics(out, d, &first);
  fprintf(out, "}}\n");
  if (wants_assembly()) dump_representations(d, &first, module.hash);
}

static void report(Device *d, VkPipeline pipeline, const VkComputePipelineCreateInfo *info) {
  char *text = NULL;
  size_t length = 0;
  FILE *out = open_memstream(&text, &length);
  if (!out) return;
  write_line(out, d, pipeline, info);
  fclose(out);
  pthread_mutex_lock(&lock);
  FILE *file = fopen(setting("GPU_STATIC_OUT"), "a");
  if (file) {
    fwrite(text, 1, length, file);
    fclose(file);
  }
  pthread_mutex_unlock(&lock);
  free(text);
}

static VKAPI_ATTR VkResult VKAPI_CALL create_pipelines(VkDevice device, VkPipelineCache cache, uint32_t count,
                                                       const VkComputePipelineCreateInfo *infos,
                                                       const VkAllocationCallbacks *a, VkPipeline *out) {
  Device *d = device_of(device);
  if (!setting("GPU_STATIC_OUT")) return d->create_compute_pipelines(device, cache, count, infos, a, out);
  VkComputePipelineCreateInfo *own = calloc(count, sizeof *own);
  if (!own) return VK_ERROR_OUT_OF_HOST_MEMORY;
  for (uint32_t i = 0; i < count; i++) {
    own[i] = infos[i];
    own[i].flags |= VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR;
    if (wants_assembly()) own[i].flags |= VK_PIPELINE_CREATE_CAPTURE_INTERNAL_REPRESENTATIONS_BIT_KHR;
  }
  /* Without the cache: a pipeline from there may lack its statistics. */
  VkResult result = d->create_compute_pipelines(device, VK_NULL_HANDLE, count, own, a, out);
  if (result == VK_SUCCESS)
    for (uint32_t i = 0; i < count; i++) report(d, out[i], &own[i]);
  free(own);
  return result;
}

static const Entry ENTRIES[] = {
  {"vkCreateComputePipelines", create_pipelines},
  {"vkCreateShaderModule", create_module},
  {"vkDestroyShaderModule", destroy_module},
  {"vkSetDebugUtilsObjectNameEXT", set_name},
};

void *report_function(const char *name) {
  for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++)
    if (!strcmp(name, ENTRIES[i].name)) return ENTRIES[i].function;
  return NULL;
}
