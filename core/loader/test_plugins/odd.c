/* SPDX-License-Identifier: Apache-2.0
 * Plugins that a host must reject (ODD=1 to 4) or accept (ODD=5), selected at compile time:
 *   ODD=1  a newer minor version        ODD=2  a table that is too short     ODD=3  a component without functions
 *   ODD=4  not a plugin at all          ODD=5  valid, with a table longer than the host's (of a later minor version)
 */
#include <pipeline/abi.h>

#define TEXT(s) \
  { s, sizeof(s) - 1 }

#if ODD == 4
PL_PUBLIC int something_else(void) { return 4; }
#else

static pl_status create(const pl_host* host, const pl_cell* config, void** self) {
  (void)config;
  *self = (void*)host;
  return PL_OK;
}
static pl_status ok(void* self) { return (void)self, PL_OK; }
static void destroy(void* self) { (void)self; }
static pl_status write_all(void* self, pl_batch* const* batches, uint32_t n) {
  return (void)self, (void)batches, (void)n, PL_OK;
}

static const struct {
  pl_component known;
  void* later[4];
} component = {{.size = ODD == 5 ? sizeof(component) : sizeof(pl_component),
                .role = PL_SINK,
                .name = TEXT("odd"),
                .doc = TEXT("A sink that discards everything."),
                .example = TEXT("plugin: odd"),
                .create = create,
                .start = ok,
                .stop = ok,
                .destroy = destroy,
                .write = ODD == 3 ? 0 : write_all},
               {0}};
static const pl_component* const components[] = {&component.known};

const pl_plugin pl_plugin_v1 = {.size = ODD == 2 ? 8 : sizeof(pl_plugin),
                                .minor = ODD == 1 ? PL_ABI_MINOR + 1 : PL_ABI_MINOR,
                                .ncomponents = 1,
                                .name = TEXT("odd"),
                                .version = TEXT("1.0.0"),
                                .components = components};
#endif
