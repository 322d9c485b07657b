// SPDX-License-Identifier: Apache-2.0
// A sink, without the SDK's barrier, that throws an exception across the interface.
#include <pipeline/abi.h>

#include <stdexcept>

namespace {

constexpr pl_str text(const char* s) {
  pl_str t{s, 0};
  while (s[t.n] != '\0') ++t.n;
  return t;
}

pl_status create(const pl_host*, const pl_cell*, void**) { return PL_OK; }
pl_status ok(void*) { return PL_OK; }
void destroy(void*) {}
pl_status write(void*, pl_batch* const*, uint32_t) { throw std::runtime_error("the database is on fire"); }

pl_component make() {
  pl_component c{};
  c.size = sizeof c;
  c.role = PL_SINK;
  c.name = text("throwing_sink");
  c.doc = text("Throws an exception, for tests.");
  c.example = text("plugin: throwing_sink");
  c.create = create;
  c.start = ok;
  c.stop = ok;
  c.destroy = destroy;
  c.write = write;
  return c;
}

const pl_component throwing = make();
const pl_component* const components[] = {&throwing};

}  // namespace

extern "C" PL_PUBLIC const pl_plugin pl_plugin_v1{.size = sizeof(pl_plugin),
                                                  .minor = PL_ABI_MINOR,
                                                  .ncomponents = 1,
                                                  .reserved = 0,
                                                  .name = text("throwing"),
                                                  .version = text("1.0.0"),
                                                  .components = components};
