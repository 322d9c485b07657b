/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline/abi.h: the contract between pipeline-host and its plugins. C11 and C++20.
 *
 * A plugin is a shared library that exports one symbol, `pl_plugin_v1`: a table of components. A component is a source,
 * a transform or a sink: again a table, of functions that the host calls. What a component needs of the host reaches it
 * as a third table, `pl_host`. Nothing else crosses: no exceptions, no C++ types, no memory that one side allocates and
 * the other frees.
 *
 * Growth. A table that starts with `size` (the sizeof of its author's build) grows at its end only, and whoever reads it
 * treats what lies beyond `size` as zero. Structs without `size` are array elements or values; they never change.
 * Abilities beyond this page are extension tables, found by name through `extension`. A plugin built against an older
 * minor version loads into a newer host; another major version has another symbol.
 *
 * Threads. The host never calls one instance (the `self` of `create`) from two threads at once, nor one function of it
 * while another runs. It may call from different threads one after the other. Parallelism is more instances. Functions of
 * `pl_host` may be called from any thread that the host has called in on; `log`, `record`, `retain` and `release` from any
 * thread at all, until `destroy` returns.
 *
 * Errors. A function that can fail returns a pl_status. What a person should know is sent to `pl_host.error` first, and
 * belongs to the status that is returned next.
 *
 * Strings are UTF-8, borrowed for the duration of the call unless said otherwise, and not NUL-terminated.
 */
/* clang-format off */
#ifndef PIPELINE_ABI_H
#define PIPELINE_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PL_ABI_MAJOR 1
#define PL_ABI_MINOR 0

typedef struct pl_str {
  const char* p; /* may be NULL where n is 0 */
  size_t n;
} pl_str;

/* ------------------------------------------------------------------------------------------------------- statuses -- */

typedef int32_t pl_status;
enum {
  PL_OK = 0,
  PL_AGAIN = 1,  /* poll: nothing now */
  PL_END = 2,    /* poll: nothing will ever come again (the end of a file) */
  PL_RETRY = 3,  /* it failed and may succeed later: the host calls again with the same arguments, after a back-off */
  PL_REJECT = 4, /* write: these rows can't be taken, now or later: the host finds the bad ones by halving */
  PL_FENCED = 5, /* another host has taken the stream over */
  PL_FATAL = 6   /* it will not succeed without a change by a person: the pipeline stops, nothing is settled */
};

/* --------------------------------------------------------------------------------------------------------- values -- */

enum { /* pl_cell.kind */
  PL_NULL = 0,
  PL_BOOL = 1,    /* as.i: 0 or 1 */
  PL_I64 = 2,     /* as.i */
  PL_F64 = 3,     /* as.f, finite */
  PL_TIME_NS = 4, /* as.i: nanoseconds since 1970-01-01T00:00:00Z, without leap seconds */
  PL_TEXT = 5,    /* as.p, len: valid UTF-8 */
  PL_BYTES = 6,   /* as.p, len */
  PL_JSON = 7,    /* as.p, len: one valid JSON document */
  /* in configurations only: */
  PL_LIST = 8,  /* as.items[len] */
  PL_MAP = 9,   /* as.items[2 * len]: a PL_TEXT key, then its value */
  PL_OBJECT = 10 /* as.items[len]: one for each of the option's fields, in their order */
};

typedef struct pl_cell { /* 16 bytes */
  uint32_t kind;
  uint32_t len; /* bytes behind p, elements behind items; else 0 */
  union {
    int64_t i;
    double f;
    const char* p; /* belongs to the batch (to the host, in a configuration) */
    const struct pl_cell* items;
  } as;
} pl_cell;

/* -------------------------------------------------------------------------------------------------------- batches -- */

typedef struct pl_schema { /* from pl_host.schema: interned and immortal, so equal names mean an equal pointer */
  uint32_t ncols;
  const pl_str* names;
} pl_schema;

/* A stream is a sequence of records with ascending positions (a topic's partition, a file, a spool). `stream` names it
 * uniquely within its source node. */
typedef struct pl_range { /* positions [first, next) of one stream */
  pl_str stream;          /* lives as long as the batch */
  uint64_t first, next;   /* all of [first, next) was read; positions may be missing inside (a compacted topic) */
  uint64_t end;           /* where the stream ended when the range was read (next, if caught up); PL_UNKNOWN */
  /* The host's; a source leaves them empty. source: its node. epoch: under which claim the range was read; 0: no sink keeps
   * positions. Ranges of one stream with an epoch follow each other without a gap, at each sink. */
  pl_str source;
  uint64_t epoch;
} pl_range;

#define PL_UNKNOWN UINT64_MAX

/* A change of what a transform remembers (see "state/1"), on its way to a sink that keeps it together with positions. */
typedef struct pl_change {
  uint32_t range; /* index into the batch's ranges: the stream that it belongs to */
  uint32_t erase; /* not 0: the key is gone, and value empty */
  pl_str node;    /* the transform's */
  pl_str key, value; /* bytes */
} pl_change;

/* Rows, as columns of cells. The memory is the host's, from `derive` and `alloc`; whoever derived a batch fills it in and
 * may write to it until it hands it over (by `emit`, or as the result of `poll`). From then on nobody writes: branches
 * share it. */
typedef struct pl_batch {
  uint32_t size;
  uint32_t rows;           /* cells in each column */
  uint32_t nsel;           /* selected rows; equals rows where sel is NULL */
  uint32_t nranges;
  const pl_schema* schema;
  const pl_cell** cols;    /* cols[column][row]; each is set by whoever derives: own memory, or a column of the parent */
  const uint32_t* sel;     /* the selected rows, ascending; NULL: all */
  const uint64_t* pos;     /* source position of each row; NULL: the rows have none (merged, or made by a timer) */
  const uint32_t* origin;  /* index into ranges, of each row; NULL: all are of ranges[0] */
  const pl_range* ranges;  /* what the batch covers; kept even when no row is left */
  const pl_change* changes; /* for sinks with "store/1": belong to the same transaction as the rows; the last of a key wins */
  uint32_t nchanges;
} pl_batch;

/* -------------------------------------------------------------------------------------------------------- options -- */

enum { /* pl_option.kind: how the configuration is read, and the cell that `create` gets */
  PL_OPT_TEXT = 1,     /* PL_TEXT */
  PL_OPT_BOOL = 2,     /* PL_BOOL: true, false */
  PL_OPT_INT = 3,      /* PL_I64, within [min, max] */
  PL_OPT_FLOAT = 4,    /* PL_F64, within [min, max] */
  PL_OPT_DURATION = 5, /* PL_I64 nanoseconds: 100ms, 10s, 1h30m, 7d; min and max in seconds */
  PL_OPT_SIZE = 6,     /* PL_I64 bytes: 512, 64KiB, 10MB; min and max in bytes */
  PL_OPT_CHOICE = 7,   /* PL_TEXT, one of `allowed` (words separated by '|') */
  PL_OPT_LIST = 8,     /* PL_LIST of `element` */
  PL_OPT_MAP = 9,      /* PL_MAP of text to `element` */
  PL_OPT_OBJECT = 10,  /* PL_OBJECT of `fields` */
  PL_OPT_ANY = 11      /* whatever scalar is written: PL_NULL, PL_BOOL, PL_I64, PL_F64 or PL_TEXT */
};

enum { /* pl_option.flags */
  PL_REQUIRED = 1,
  PL_SECRET = 2,     /* never printed: not in messages, not by `describe`, not in logs */
  PL_RELOADABLE = 4, /* reserved; set it where `create` is cheap */
  PL_DEPRECATED = 8  /* a warning, with `doc` as its explanation */
};

typedef struct pl_option {
  uint32_t kind, flags;
  pl_str key, doc;
  pl_str def;            /* the default as it would be written in YAML; empty: none, `create` gets PL_NULL */
  pl_str example;        /* as written in YAML */
  pl_str allowed;        /* PL_OPT_CHOICE: "a|b|c" */
  double min, max;       /* numbers, durations, sizes: inclusive; -HUGE_VAL and HUGE_VAL where there is no limit */
  uint32_t element;      /* PL_OPT_LIST, PL_OPT_MAP: kind of the elements (any but LIST and MAP) */
  uint32_t nfields;      /* PL_OPT_OBJECT, or elements that are objects */
  const struct pl_option* fields;
} pl_option;

/* ----------------------------------------------------------------------------------------------------------- host -- */

enum { PL_LOG_TRACE = 0, PL_LOG_DEBUG = 1, PL_LOG_INFO = 2, PL_LOG_WARN = 3, PL_LOG_ERROR = 4 };
enum { PL_COUNTER = 1, PL_GAUGE = 2, PL_HISTOGRAM = 3 };

/* What the host offers one instance. Lives until `destroy` has returned. */
typedef struct pl_host {
  uint32_t size;
  uint32_t lane;         /* which of `lanes` instances this is, from 0 (for sinks: which writer) */
  uint32_t lanes;
  uint32_t reserved;
  void* ctx;             /* first argument of the functions below that take ctx */
  pl_str pipeline, node; /* names in the configuration */
  pl_str state_dir;      /* a directory for small lasting files (locks, spools); may not exist yet */
  uint64_t memory_limit; /* bytes that this instance may buffer on its own account (a client library's queue) */

  int (*log_on)(void* ctx, int level); /* whether `log` would print: ask before formatting */
  void (*log)(void* ctx, int level, pl_str message);

  /* A metric of this instance, called pipeline_<name>, labelled with pipeline, node and `labels` (nlabels pairs of name
   * and value, one after the other). Counters: `record` adds; gauges: sets; histograms (seconds): observes. Asking twice
   * for one name and labels gives one metric. */
  uint32_t (*metric)(void* ctx, int kind, pl_str name, pl_str doc, const pl_str* labels, uint32_t nlabels);
  void (*record)(void* ctx, uint32_t metric, double value);

  /* Explains the status that is returned next. `option` is the path of the option at fault ("rules[2].for"), which the
   * host shows as file:line:column, or empty. May be called more than once: all are shown. */
  void (*error)(void* ctx, pl_str detail, pl_str option);

  const pl_schema* (*schema)(void* ctx, const pl_str* names, uint32_t ncols);

  /* A new batch with `rows` rows, columns not set, nothing selected away. With a parent it takes over the parent's ranges
   * (and its pos and origin if it has as many rows) and keeps the parent's memory alive. Without one (a source's poll, a
   * transform's tick) it has no ranges yet. The caller holds one reference. NULL: out of memory. */
  pl_batch* (*derive)(void* ctx, pl_batch* parent, const pl_schema* schema, uint32_t rows);

  void* (*alloc)(pl_batch* batch, size_t bytes, size_t align);  /* lives as long as the batch; NULL: out of memory */
  void (*pin)(pl_batch* batch, void* mem, size_t bytes, void (*release)(void* mem)); /* foreign memory, freed with it */
  void (*retain)(pl_batch* batch);

  /* Gives one reference back. A batch is delivered when the last reference is gone and every call that it went through
   * returned PL_OK; releases in a call that fails, or in `stop` and `destroy`, make it undelivered: its ranges are read
   * again after a restart. */
  void (*release)(pl_batch* batch);

  /* Sends one row to the dead letters, with the original record and the reason. Counts as delivered once it is there.
   * In `apply` and `write` only; the row must then not be emitted or written. */
  void (*reject)(void* ctx, pl_batch* batch, uint32_t row, pl_str why);

  /* For sources, from within start, poll and stop. A stream is about to be read:
   *   `announced`  before the source asks its own side (a broker) where it stands: the host looks where the sinks stand.
   *                A source without such a side may leave it out.
   *   `assigned`   *next is where the source would begin, `why` what that rests on; the answer is where it must begin.
   * PL_RETRY: not now (a sink is away); the stream must not be read: begin again, later, with `announced`. PL_FATAL: stop.
   * `lost`: the stream is no longer ours; waits (bounded) for what is in flight and answers how far the stream is settled,
   * or PL_UNKNOWN where nothing of it was. */
  pl_status (*announced)(void* ctx, pl_str stream);
  pl_status (*assigned)(void* ctx, pl_str stream, uint32_t why, uint64_t* next);
  void (*lost)(void* ctx, pl_str stream, uint64_t* settled);

  const void* (*extension)(void* ctx, pl_str name); /* "name/version"; NULL: not offered */
} pl_host;

/* ----------------------------------------------------------------------------------------------------- components -- */

enum { PL_SOURCE = 1, PL_TRANSFORM = 2, PL_SINK = 3 };

enum {                  /* pl_component.caps */
  PL_REPLAYABLE = 1,    /* source: can be read again from a position */
  PL_TRANSACTIONAL = 2, /* sink: keeps positions in its own transactions */
  PL_IDEMPOTENT = 4,    /* sink: writing a batch twice leaves what writing it once leaves */
  PL_DETERMINISTIC = 8  /* transform: the same records give the same output */
};

enum { /* pl_host.assigned: what *next rests on */
  PL_BY_POLICY = 0, /* nobody has said where to begin: the source's own start policy */
  PL_BY_PROGRESS = 1, /* what this source noted when records were settled, or another consumer did: sinks know better */
  PL_BY_ORDER = 2   /* a person wants to go there (the group's offsets were reset): sinks follow */
};

/* Hands a batch on, with one reference. port: index into pl_component.ports. */
typedef void (*pl_emit)(void* to, uint32_t port, pl_batch* batch);

typedef struct pl_component {
  uint32_t size;
  uint32_t role, caps;
  uint32_t noptions, nports;
  pl_str name, doc;         /* name: snake_case, unique; doc: the first line is a summary */
  pl_str example;           /* YAML of one node, without its name: "plugin: file_sink\nfrom: parsed\n..." */
  const pl_option* options;
  const pl_str* ports;      /* names of the outputs; nports 0: one, called "out" (sources, transforms) */

  /* Life: create, [check], [start, (its role's functions), stop], destroy. */

  /* config[i] belongs to options[i]. Checks what needs no connection and touches nothing outside: `validate` calls it. On
   * failure *self is not used. `host` and `config` live until destroy returns. */
  pl_status (*create)(const pl_host* host, const pl_cell* config, void** self);
  pl_status (*check)(void* self); /* does the world fit: servers reachable, columns there? Changes nothing. May be NULL */
  pl_status (*start)(void* self); /* connects; PL_RETRY: later */
  pl_status (*stop)(void* self);  /* flushes, disconnects; no batch comes after */
  void (*destroy)(void* self);

  /* Sources. At most max_rows rows and about max_bytes bytes of payload, waiting at most timeout_ns for the first.
   * max_rows 0: there is no room; only keep-alive. PL_OK with *out (one reference), PL_AGAIN, PL_END, or a failure.
   * Conventional columns of a source: value (the original bytes, which dead letters show), key, time, topic, headers. */
  pl_status (*poll)(void* self, uint32_t max_rows, size_t max_bytes, int64_t timeout_ns, pl_batch** out);
  pl_status (*seek)(void* self, pl_str stream, uint64_t next); /* the next poll reads from there */
  /* Everything below ranges[i].next of its stream is delivered (first: how far it was before). */
  void (*settle)(void* self, const pl_range* ranges, uint32_t n);

  /* Transforms. `batch` is borrowed: retain it to keep it or to emit it as it is. */
  pl_status (*apply)(void* self, pl_batch* batch, void* to, pl_emit emit);
  pl_status (*tick)(void* self, int64_t now_ns, void* to, pl_emit emit); /* about every 100 ms; wall clock. May be NULL */
  void (*drop)(void* self, pl_str stream); /* the stream left this lane: forget its state. May be NULL */

  /* Sinks. All of it or nothing; on PL_RETRY the same batches come again. */
  pl_status (*write)(void* self, pl_batch* const* batches, uint32_t n);

  const void* (*extension)(void* self, pl_str name); /* NULL where there is none; may itself be NULL */
} pl_component;

typedef struct pl_plugin {
  uint32_t size;
  uint32_t minor;           /* PL_ABI_MINOR of the build; a host with a smaller one refuses */
  uint32_t ncomponents;
  uint32_t reserved;
  pl_str name, version;
  const pl_component* const* components;
} pl_plugin;

#if defined(_WIN32)
#define PL_PUBLIC __declspec(dllexport)
#else
#define PL_PUBLIC __attribute__((visibility("default")))
#endif

extern PL_PUBLIC const pl_plugin pl_plugin_v1; /* the only exported symbol */

/* ------------------------------------------------------------------------------------------------------ extensions -- */

/* Component, transforms and sinks: which columns go in and come out, so that a misspelt column is found by `validate`.
 * Called between create and start. `in` may be NULL where it isn't known.
 * columns: for transforms, the schema that `port` emits for input `in`; NULL in *out: not known before data comes.
 *          For sinks *out is left NULL. A column that is needed and isn't in `in`: `error`, and PL_FATAL. */
#define PL_EXT_COLUMNS "columns/1"
typedef struct pl_ext_columns {
  uint32_t size;
  pl_status (*columns)(void* self, const pl_schema* in, uint32_t port, const pl_schema** out);
} pl_ext_columns;

/* Component, sinks with PL_TRANSACTIONAL: the sink is also where the positions of streams and the state of transforms are
 * kept. A batch whose ranges have an epoch must be written in one transaction with
 *   - for each stream of the write: its position, moved from the first `first` to the last `next` of its ranges, only if it
 *     stands at `first` under this epoch;
 *   - its changes.
 * If a position isn't as expected, nothing is written, and the answer is PL_FENCED. If the answer to the commit is lost,
 * `write` fails with PL_RETRY; called again with the same batches, it finds out whether they were written: then it is
 * PL_OK at once. Rows that can't be stored are found by the sink itself, and named by `reject` before anything is committed:
 * then nothing is written, the answer is PL_REJECT, and once they are in the dead letters the batches come again without
 * them.
 *
 * The functions below are called on an instance of their own, which is created and never started: it connects when it is
 * first asked. `source` is the node that reads the stream. */
#define PL_EXT_STORE "store/1"
typedef struct pl_position {
  uint64_t next;  /* everything below is written */
  uint64_t epoch; /* of the claim; 0: the stream was never claimed */
} pl_position;
typedef void (*pl_entry)(void* to, pl_str node, pl_str key, pl_str value);
enum {                 /* pl_mark.rule */
  PL_MARK_NOTHING = 0, /* key and value are empty */
  PL_MARK_FIRST = 1,   /* where there is no such entry */
  PL_MARK_AGAIN = 2    /* only in the place of one that is there */
};
typedef struct pl_mark {
  uint32_t rule;
  uint32_t reserved;
  pl_str key, value;
} pl_mark;
typedef struct pl_ext_store {
  uint32_t size;
  pl_status (*position)(void* self, pl_str source, pl_str stream, pl_position* out);
  /* From `seen` to `wanted`, whose epoch is greater. PL_AGAIN: it isn't as seen any more: look again. In the same
   * transaction mark.value becomes the entry (node "", key mark.key) of the stream's state, as mark.rule says. */
  pl_status (*claim)(void* self, pl_str source, pl_str stream, pl_position seen, pl_position wanted, pl_mark mark);
  pl_status (*load)(void* self, pl_str source, pl_str stream, void* to, pl_entry entry); /* all state of a stream */
} pl_ext_store;

/* Component, transforms: what it remembers belongs to streams, and survives where a sink keeps it. Such a transform emits
 * in `apply` what a batch gives, and holds no batch back. */
#define PL_EXT_STATE "state/1"
typedef struct pl_ext_state {
  uint32_t size;
  /* The stream comes to this lane: what was put for it when it left the last one, key by key; then once with key.p NULL,
   * and then its records, again from the last `snapshot` on. A key that was put outside of `snapshot` is newer: it
   * says itself from which position on it has not seen them. With the last call `value` is "moved" where a person sent the stream elsewhere: then all that comes is new,
   * whatever its positions. */
  pl_status (*restore)(void* self, pl_str stream, pl_str key, pl_str value);
  /* Every few seconds, between batches: put whatever changed since and was not put. */
  pl_status (*snapshot)(void* self, pl_str stream);
} pl_ext_state;

/* Host, for transforms; PL_EXT_STATE again. In apply, tick and snapshot. */
typedef struct pl_host_state {
  uint32_t size;
  void (*put)(void* ctx, pl_str stream, pl_str key, pl_str value); /* value.p NULL: erase. Copied */
  /* Gives a batch made in `tick` the stream's present as its range, so that it is written in order with its records. */
  void (*belongs)(void* ctx, pl_batch* batch, pl_str stream);
} pl_host_state;

/* Component, sources whose past can be read once more beside what they read now (`pipeline-host replay`). On an instance
 * that was created and not started. It connects when it is first asked. */
#define PL_EXT_REPLAY "replay/1"
enum { /* pl_bound.kind */
  PL_BOUND_NOW = 0,      /* up to where records are settled already: what comes after is read anyway */
  PL_BOUND_POSITION = 1, /* value: a position of each stream */
  PL_BOUND_TIME_NS = 2   /* value: the first record of this time or later (the source's time of a record) */
};
typedef struct pl_bound {
  uint32_t kind;
  uint32_t reserved;
  int64_t value;
} pl_bound;
typedef struct pl_window {
  pl_str stream;
  uint64_t first, next;     /* to be read: [first, next), within what is there */
  uint64_t oldest, newest;  /* what is there: [oldest, newest) */
} pl_window;
typedef void (*pl_window_entry)(void* to, const pl_window* window);
typedef struct pl_ext_replay {
  uint32_t size;
  /* One window for each stream, empty ones too. `from` is not PL_BOUND_NOW. */
  pl_status (*windows)(void* self, pl_bound from, pl_bound until, void* to, pl_window_entry entry);
  /* Before `start`, which then opens these windows alone: poll ends with PL_END when they are read, and nothing is noted of
   * it, whatever is settled. */
  pl_status (*choose)(void* self, const pl_window* windows, uint32_t n);
  /* Instead of a replay: an order that whoever reads the streams next begins at the windows' `first`. PL_FATAL while
   * somebody reads them. NULL: not possible. */
  pl_status (*order)(void* self, const pl_window* windows, uint32_t n);
} pl_ext_replay;

/* Component, sinks: PL_OK where, with its configuration, records that were written before can be written again and are there
 * once. Else it says by `error` what would make it so. On an instance that was created and not started. */
#define PL_EXT_REWRITE "rewrite/1"
typedef struct pl_ext_rewrite {
  uint32_t size;
  pl_status (*rewritable)(void* self);
} pl_ext_rewrite;

#ifdef __cplusplus
}
#endif
#endif
