/* SPDX-License-Identifier: Apache-2.0
 * Components that violate the plugin interface, or end or block the process. The option `fault` selects how. Without a
 * fault, broken_source reads `rows` records and ends, broken_transform passes them on, and broken_sink discards them.
 */
#define _GNU_SOURCE
#include <pipeline/abi.h>

#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TEXT(s) \
  { s, sizeof(s) - 1 }

typedef struct instance {
  const pl_host* host;
  char fault[64];
  uint32_t rows, sent, polls;
  const pl_schema* schema;
  pl_batch* kept;
  void* to; /* of an earlier call */
} instance;

static int is(const instance* me, const char* fault) { return strcmp(me->fault, fault) == 0; }

/* ------------------------------------------------------------------------------------------- ends and blocks -- */

static int too_deep(volatile int depth) {
  volatile char frame[4096];
  frame[0] = (char)depth;
  return depth > 1000000000 ? frame[0] : too_deep(depth + 1) + frame[0];
}

static void* ends_on_thread(void* code) {
  exit(*(int*)code);
  return 0;
}

static void* crashes_on_thread(void* unused) {
  (void)unused;
  *(volatile int*)16 = 1;
  return 0;
}

static void on_thread(void* (*run)(void*), void* with) {
  pthread_t thread;
  if (pthread_create(&thread, 0, run, with) == 0) pthread_join(thread, 0);
}

/* The faults that every function can have: "exit in write". */
static void fail_in(const instance* me, const char* function) {
  static int zero = 0;
  char named[64];
  size_t n = strlen(me->fault), length = strlen(function);
  if (n < length || strcmp(me->fault + n - length, function) != 0) return;
  memcpy(named, me->fault, sizeof named);
  if (strncmp(named, "exit in ", 8) == 0) exit(0);
  if (strncmp(named, "_exit in ", 9) == 0) _exit(0);
  if (strncmp(named, "quick_exit in ", 14) == 0) quick_exit(0);
  if (strncmp(named, "exit on a thread in ", 20) == 0) on_thread(ends_on_thread, &zero);
  if (strncmp(named, "crash in ", 9) == 0) *(volatile int*)8 = 1;
  if (strncmp(named, "crash on a thread in ", 21) == 0) on_thread(crashes_on_thread, 0);
  if (strncmp(named, "overflow in ", 12) == 0) too_deep(0);
  if (strncmp(named, "abort in ", 9) == 0) abort();
  if (strncmp(named, "divide in ", 10) == 0) raise(SIGFPE);
  if (strncmp(named, "hang in ", 8) == 0)
    while (1) pause();
  if (strncmp(named, "sleep in ", 9) == 0) sleep(4);
}

/* ------------------------------------------------------------------------------------------------------- life -- */

static pl_status create(const pl_host* host, const pl_cell* config, void** self) {
  static const pl_str names[] = {TEXT("value"), TEXT("number")};
  instance* me = calloc(1, sizeof *me);
  if (me == 0) return PL_FATAL;
  me->host = host;
  if (config[0].kind == PL_TEXT && config[0].len < sizeof me->fault) memcpy(me->fault, config[0].as.p, config[0].len);
  me->rows = (uint32_t)config[1].as.i;
  me->schema = host->schema(host->ctx, names, 2);
  if (is(me, "schema of null names")) host->schema(host->ctx, 0, 3);
  if (is(me, "metric of an unknown kind")) host->metric(host->ctx, 9, (pl_str)TEXT("x"), (pl_str)TEXT("x"), 0, 0);
  fail_in(me, "create");
  *self = me;
  return is(me, "status of 99") ? 99 : PL_OK;
}
static pl_status start(void* self) {
  instance* me = self;
  static const pl_str stream = TEXT("s/0");
  uint64_t next = 0;
  fail_in(me, "start");
  if (is(me, "assigned without a position")) me->host->assigned(me->host->ctx, stream, PL_START_POLICY, 0);
  return is(me, "unassigned") ? PL_OK : me->host->assigned(me->host->ctx, stream, PL_START_POLICY, &next);
}
static pl_status start_other(void* self) { return fail_in(self, "start"), PL_OK; }
static pl_status stop(void* self) {
  instance* me = self;
  fail_in(me, "stop");
  if (is(me, "release twice in stop")) {
    pl_batch* b = me->host->derive(me->host->ctx, 0, me->schema, 1);
    me->host->release(b);
    me->host->release(b);
  }
  return PL_OK;
}
static void destroy(void* self) {
  fail_in(self, "destroy");
  free(self);
}

/* ----------------------------------------------------------------------------------------------------- source -- */

/* Make a valid batch of n rows of the stream "s/0". */
static pl_batch* make_batch(instance* me, uint32_t n) {
  const pl_host* h = me->host;
  pl_batch* b = h->derive(h->ctx, 0, me->schema, n);
  pl_range* range = b == 0 ? 0 : h->alloc(b, sizeof *range, _Alignof(pl_range));
  uint64_t* pos = range == 0 ? 0 : h->alloc(b, n * sizeof *pos, _Alignof(uint64_t));
  if (pos == 0) return 0;
  for (int c = 0; c < 2; ++c) {
    pl_cell* cells = h->alloc(b, n * sizeof *cells, _Alignof(pl_cell));
    if (cells == 0) return 0;
    for (uint32_t row = 0; row < n; ++row) {
      cells[row] = (pl_cell){.kind = c == 0 ? PL_BYTES : PL_F64, .len = c == 0 ? 7 : 0};
      if (c == 0)
        cells[row].as.p = "{\"a\":1}";
      else
        cells[row].as.f = row;
    }
    b->cols[c] = cells;
  }
  for (uint32_t row = 0; row < n; ++row) pos[row] = me->sent + row;
  *range = (pl_range){.stream = TEXT("s/0"), .first = me->sent, .next = me->sent + n, .end = me->rows};
  b->ranges = range;
  b->nranges = 1;
  b->pos = pos;
  return b;
}

static const char unknown_kind[] = "cell of an unknown kind";

/* Damage a batch that is otherwise valid. */
static void damage(instance* me, pl_batch* b) {
  static pl_range many[4] = {{TEXT("s/0"), 0, 100, 100, {0, 0}, 0}};
  static const pl_schema own_schema = {0, 0};
  static pl_cell own_cells[4096];
  const pl_host* h = me->host;
  pl_cell* cells = (pl_cell*)b->cols[1];
  pl_range* range = (pl_range*)b->ranges;
  uint32_t* sel = h->alloc(b, b->rows * sizeof *sel, _Alignof(uint32_t));
  for (uint32_t row = 0; row < b->rows; ++row) sel[row] = row;
  if (is(me, "column of null")) b->cols[1] = 0;
  if (is(me, "column elsewhere")) b->cols[1] = own_cells;
  if (is(me, "more rows than made")) b->rows = b->nsel = 1000000;
  if (is(me, "nsel too large")) b->sel = sel, b->nsel = b->rows + 1;
  if (is(me, "nsel without sel")) b->nsel = 2;
  if (is(me, "sel not ascending")) sel[1] = 0, b->sel = sel;
  if (is(me, "sel out of bounds")) sel[b->rows - 1] = 77, b->sel = sel;
  if (is(me, "origin out of bounds")) sel[1] = 9, b->origin = sel;
  if (is(me, "ranges of null")) b->ranges = 0;
  if (is(me, "too many ranges")) b->nranges = 1000000;
  if (is(me, "ranges elsewhere")) b->ranges = many;
  if (is(me, "range without a stream")) range->stream.n = 0;
  if (is(me, "range backwards")) range->first = 100, range->next = 50;
  if (is(me, "rows without a range")) b->nranges = 0, b->ranges = 0;
  if (is(me, "position outside of the range")) ((uint64_t*)b->pos)[1] = 4711;
  if (is(me, "float that is not a number")) cells[1].as.f = NAN;
  if (is(me, "float that is infinite")) cells[1].as.f = -INFINITY;
  if (is(me, "text at null")) cells[1] = (pl_cell){.kind = PL_TEXT, .len = 5};
  if (is(me, unknown_kind)) cells[1].kind = 42;
  if (is(me, "schema replaced")) b->schema = &own_schema;
  if (is(me, "state changes set")) b->nstate_changes = 3;
}

static pl_status poll(void* self, uint32_t max_rows, size_t max_bytes, int64_t timeout, pl_batch** out) {
  static pl_batch own;
  instance* me = self;
  const pl_host* h = me->host;
  (void)max_bytes, (void)timeout;
  fail_in(me, "poll");
  if (max_rows == 0) return PL_AGAIN;
  if (me->polls++ == 0 && is(me, "derive without a schema") && h->derive(h->ctx, 0, 0, 1) == 0) return PL_RETRY;
  if (me->sent == me->rows) return PL_END;
  pl_batch* b = make_batch(me, me->rows - me->sent < 100 ? me->rows - me->sent : 100);
  if (b == 0) return PL_FATAL;
  damage(me, b);
  if (is(me, "alignment of three")) h->alloc(b, 8, 3);
  if (is(me, "batch of its own")) *out = &own;
  if (is(me, "batch already released")) h->release(b);
  if (is(me, "error text at null")) h->error(h->ctx, (pl_str){0, 7}, (pl_str){0, 0});
  if (!is(me, "batch of its own")) *out = b;
  me->sent += b->rows;
  return is(me, "batch with retry") ? PL_RETRY : is(me, "batch with end") ? PL_END : PL_OK;
}
static void settle(void* self, const pl_range* ranges, uint32_t n) {
  instance* me = self;
  (void)ranges, (void)n;
  fail_in(me, "settle");
  if (is(me, "reject in settle")) me->host->reject(me->host->ctx, 0, 0, (pl_str)TEXT("x"));
}

/* -------------------------------------------------------------------------------------------------- transform -- */

static void* releases_on_thread(void* self) {
  instance* me = self;
  me->host->release(me->kept);
  me->host->release(me->kept);
  return 0;
}

static pl_status apply(void* self, pl_batch* in, void* to, pl_emit emit) {
  static pl_batch own;
  instance* me = self;
  const pl_host* h = me->host;
  fail_in(me, "apply");
  if (is(me, "emit null")) return emit(to, 0, 0), PL_OK;
  if (is(me, "emit a batch of its own")) return emit(to, 0, &own), PL_OK;
  if (is(me, "emit without a reference")) return emit(to, 0, in), PL_OK;
  if (is(me, "emit to an earlier call") && me->to == 0) me->to = to;
  if (is(me, "keep and release on a thread")) {
    h->retain(in);
    me->kept = in;
    on_thread(releases_on_thread, me);
    me->kept = 0;
  }
  if (is(me, "release what is borrowed")) h->release(in);
  if (is(me, "release null")) h->release(0);
  if (is(me, "alloc in what was passed")) h->alloc(in, 8, 8);
  if (is(me, "reject a row that does not exist")) h->reject(h->ctx, in, in->rows, (pl_str)TEXT("x"));
  if (is(me, "reject a row twice")) {
    h->reject(h->ctx, in, 1, (pl_str)TEXT("x"));
    h->reject(h->ctx, in, 1, (pl_str)TEXT("x"));
  }
  if (is(me, "announced in apply")) h->announced(h->ctx, (pl_str)TEXT("s/0"));
  if (is(me, "emit damaged")) {
    pl_batch* made = h->derive(h->ctx, in, in->schema, in->rows);
    emit(to, 0, made); /* none of its columns is set */
    return PL_OK;
  }
  h->retain(in);
  emit(to, is(me, "emit to port 99") ? 99 : is(me, "emit to port 2") ? 2 : 0, in);
  if (is(me, "emit rows without a range")) {
    pl_batch* made = make_batch(me, 10);
    made->nranges = 0;
    emit(to, 0, made);
  }
  if (is(me, "emit twice")) emit(to, 0, in);
  return PL_OK;
}
static pl_status tick(void* self, int64_t now, void* to, pl_emit emit) {
  instance* me = self;
  (void)now, (void)to;
  fail_in(me, "tick");
  if (me->to != 0) emit(me->to, 0, 0);
  return PL_OK;
}

/* ------------------------------------------------------------------------------------------------------- sink -- */

static pl_status write_all(void* self, pl_batch* const* batches, uint32_t n) {
  instance* me = self;
  const pl_host* h = me->host;
  (void)n;
  fail_in(me, "write");
  if (is(me, "reject a row that does not exist")) h->reject(h->ctx, batches[0], 4711, (pl_str)TEXT("x"));
  if (is(me, "reject null")) h->reject(h->ctx, 0, 0, (pl_str)TEXT("x"));
  if (is(me, "reject with text at null")) h->reject(h->ctx, batches[0], 0, (pl_str){0, 3});
  if (is(me, "release what is borrowed")) h->release(batches[0]);
  if (is(me, "log text at null")) h->log(h->ctx, PL_LOG_INFO, (pl_str){0, 3});
  return is(me, "status of -1 in write") ? -1 : PL_OK;
}

/* Tables that are shorter than this host's: only `size` and the first function may be read. */
static pl_status any_columns(void* self, const pl_columns* in, uint32_t port, pl_columns* out) {
  return (void)self, (void)in, (void)port, (void)out, PL_OK;
}
static pl_status two_ports(void* self, void* to, pl_port_entry entry) {
  static const pl_str hot = TEXT("hot"), cold = TEXT("cold");
  instance* me = self;
  fail_in(me, "ports");
  entry(to, hot);
  entry(to, is(me, "port without a name") ? (pl_str){0, 0} : is(me, "port twice") ? hot : cold);
  return is(me, "status of 99 in ports") ? 99 : PL_OK;
}
static const void* extension(void* self, pl_str name) {
  static const pl_ext_ports ports = {sizeof ports, two_ports};
  static struct {
    uint32_t size;
    void* first;
    void* beyond[8];
  } short_positions = {8, 0, {(void*)1, (void*)1, (void*)1, (void*)1, (void*)1, (void*)1, (void*)1, (void*)1}};
  static const pl_ext_columns columns = {sizeof columns, any_columns};
  static const pl_ext_replay beyond_size = {4, (void*)1, (void*)1, (void*)1};
  instance* me = self;
  if (is(me, "short table") && name.n == sizeof(PL_EXT_REPLAY) - 1 && memcmp(name.p, PL_EXT_REPLAY, name.n) == 0)
    return &beyond_size;
  if (is(me, "short table") && name.n == sizeof(PL_EXT_STATE) - 1 && memcmp(name.p, PL_EXT_STATE, name.n) == 0)
    return &short_positions;
  if (name.n == sizeof(PL_EXT_PORTS) - 1 && memcmp(name.p, PL_EXT_PORTS, name.n) == 0)
    return is(me, "no table of ports") ? 0 : &ports;
  if (name.n == sizeof(PL_EXT_COLUMNS) - 1 && memcmp(name.p, PL_EXT_COLUMNS, name.n) == 0) return &columns;
  return 0;
}

/* ----------------------------------------------------------------------------------------------------- tables -- */

static const pl_option options[] = {
    {.kind = PL_OPT_TEXT, .key = TEXT("fault"), .doc = TEXT("What is broken."), .min = -HUGE_VAL, .max = HUGE_VAL},
    {.kind = PL_OPT_INT, .key = TEXT("rows"), .doc = TEXT("Records."), .def = TEXT("300"), .min = 0, .max = 1e9}};

#define COMMON                                                                                                \
  .size = sizeof(pl_component), .doc = TEXT("Violates the plugin interface, for tests."), .options = options, \
  .noptions = 2, .create = create, .stop = stop, .destroy = destroy, .extension = extension

static const pl_component source = {COMMON,
                                    .role = PL_SOURCE,
                                    .caps = PL_REPLAYABLE,
                                    .name = TEXT("broken_source"),
                                    .example = TEXT("plugin: broken_source"),
                                    .start = start,
                                    .poll = poll,
                                    .settle = settle};
static const pl_component transform = {COMMON,
                                       .role = PL_TRANSFORM,
                                       .name = TEXT("broken_transform"),
                                       .example = TEXT("plugin: broken_transform"),
                                       .start = start_other,
                                       .apply = apply,
                                       .tick = tick};
static const pl_component router = {COMMON,
                                    .role = PL_TRANSFORM,
                                    .caps = PL_OPTION_PORTS,
                                    .name = TEXT("broken_router"),
                                    .example = TEXT("plugin: broken_router"),
                                    .start = start_other,
                                    .apply = apply,
                                    .tick = tick};
static const pl_component sink = {COMMON,
                                  .role = PL_SINK,
                                  .name = TEXT("broken_sink"),
                                  .example = TEXT("plugin: broken_sink"),
                                  .start = start_other,
                                  .write = write_all};
static const pl_component* const components[] = {&source, &transform, &router, &sink};

const pl_plugin pl_plugin_v1 = {.size = sizeof(pl_plugin),
                                .minor = PL_ABI_MINOR,
                                .ncomponents = 4,
                                .name = TEXT("broken"),
                                .version = TEXT("1.0.0"),
                                .components = components};
