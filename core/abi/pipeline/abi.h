/* SPDX-License-Identifier: Apache-2.0
 *
 * pipeline/abi.h: the contract between pipeline-host and its plugins. C11 and C++20.
 *
 * A plugin is a shared library that exports one symbol, `pl_plugin_v1`: a table of components. A component is a source, a
 * transform or a sink, and is itself a table of functions that the host calls. The host passes its own table, `pl_host`,
 * to each instance. Nothing else crosses the boundary: no exceptions, no C++ types, and no memory that one side
 * allocates and the other side frees.
 *
 * Growth. A table that starts with `size` (its sizeof when its author was compiled) grows only at its end. A reader treats
 * fields beyond `size` as zero. Structs without `size` are values or array elements and never change. Further abilities are
 * extension tables, which are looked up by name with `extension`.
 *
 * Threads. The host never runs two functions of one instance (the `self` of `create`) at the same time. The comment on each
 * function begins with the thread that it may be called on:
 *   [main]    the host's main thread, while the instance's lane or writer does not run
 *   [lane]    the thread of the lane that owns the source or transform instance
 *   [writer]  the thread of the writer that owns the sink instance
 *   [call]    functions of the host: the thread of a call from the host into this instance, before that call returns
 *   [any]     functions of the host: any thread, also one of the plugin's own, until `destroy` returns
 * A lane or writer may continue an instance on another thread after a reload. Parallelism comes from more instances.
 *
 * Errors. A function that can fail returns a pl_status. To explain a failure, call `pl_host.error` first: the explanation
 * belongs to the status that is returned next.
 *
 * Strings are UTF-8, are not NUL-terminated, and are borrowed for the duration of the call unless stated otherwise.
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
  const char* p; /* may be NULL if n is 0 */
  size_t n;      /* bytes */
} pl_str;

/* ------------------------------------------------------------------------------------------------------- statuses -- */

typedef int32_t pl_status;
enum {
  PL_OK = 0,
  PL_AGAIN = 1,  /* poll: no records now. claim: the position has changed; read it again */
  PL_END = 2,    /* poll: no further records will ever arrive (the end of a file) */
  PL_RETRY = 3,  /* a temporary failure: the host calls again with the same arguments, after a back-off */
  PL_REJECT = 4, /* write: some rows can never be written; the host bisects the batches to find them */
  PL_FENCED = 5, /* another host has claimed the stream */
  PL_FATAL = 6   /* only a change by an operator helps: the pipeline stops, and nothing more is settled */
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
  uint32_t len; /* number of bytes at p, or of elements at items; otherwise 0 */
  union {
    int64_t i;
    double f;
    const char* p; /* owned by the batch (by the host, in a configuration) */
    const struct pl_cell* items;
  } as;
} pl_cell;

/* -------------------------------------------------------------------------------------------------------- batches -- */

typedef struct pl_schema { /* from pl_host.schema: interned, never freed; equal names mean an equal pointer */
  uint32_t ncols;
  const pl_str* names;
} pl_schema;

#define PL_UNKNOWN UINT64_MAX /* a position that is not known */

/* A stream is an ordered sequence of records with ascending positions: a topic partition, a file, a spool. `stream` is
 * unique within its source node. */
typedef struct pl_range { /* positions [first, next) of one stream */
  pl_str stream;          /* lives as long as the batch */
  uint64_t first, next;   /* every record in [first, next) was read; positions may be missing (a compacted topic) */
  uint64_t end;           /* end of the stream when the range was read; equal to `next` if nothing remained; or PL_UNKNOWN */
  /* Set by the host; a source leaves both empty. source: the node that read the range. epoch: the claim under which it was
   * read; 0 if no sink keeps positions. At each sink, ranges of one stream with an epoch are contiguous. */
  pl_str source;
  uint64_t epoch;
} pl_range;

/* A change of a transform's state ("state/1"), on its way to the position store. */
typedef struct pl_state_change {
  uint32_t range; /* the stream that the state belongs to, as an index into the batch's ranges */
  uint32_t erase; /* not 0: the key is erased, and value is empty */
  pl_str node;    /* the transform's node */
  pl_str key, value; /* bytes */
} pl_state_change;

/* Rows, stored as columns of cells. The host owns the memory (`derive`, `alloc`). The side that derived a batch may write to
 * it until it hands the batch over, by `emit` or as the result of `poll`. From then on the batch is immutable, because
 * branches share it. */
typedef struct pl_batch {
  uint32_t size;
  uint32_t rows;           /* cells in each column */
  uint32_t nsel;           /* selected rows; equal to rows if sel is NULL */
  uint32_t nranges;
  const pl_schema* schema;
  const pl_cell** cols;    /* cols[column][row]; each set by the deriving side: new memory, or a column of the parent */
  const uint32_t* sel;     /* indexes of the selected rows, ascending; NULL: all */
  const uint64_t* pos;     /* source position of each row; NULL: unknown (merged rows, or rows made in `tick`) */
  /* Arrival time of each row, beside the record's own time column; NULL: unknown. A source sets wall time in ns since 1970.
   * Before transforms see a batch, the host replaces it by readings of the arrival clock, if one of them uses "arrival/1". */
  const int64_t* arrival;
  const uint32_t* origin;  /* index into ranges, of each row; NULL: every row belongs to ranges[0] */
  const pl_range* ranges;  /* what the batch covers; kept even if no row is left (a position-only batch) */
  const pl_state_change* state_changes; /* for position stores: written with the rows; the last change of a key applies */
  uint32_t nstate_changes;
  uint32_t arrival_claimed; /* sources: not 0: producers set `arrival`, and their clocks may be wrong (Kafka's CreateTime) */
} pl_batch;

/* -------------------------------------------------------------------------------------------------------- options -- */

enum { /* pl_option.kind: how the configuration is read, and the cell that `create` receives */
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
  PL_OPT_ANY = 11      /* any scalar: PL_NULL, PL_BOOL, PL_I64, PL_F64 or PL_TEXT */
};

enum { /* pl_option.flags */
  PL_REQUIRED = 1,
  PL_SECRET = 2,    /* never printed: not in messages, not by `describe`, not in logs */
  PL_DEPRECATED = 4, /* the host warns, and quotes `doc` */
  PL_FILE = 8        /* PL_OPT_TEXT: the path of a file that the instance reads in `start` only (a certificate). If the file has
                      * changed, the host replaces the node: at a reload, and while the node is not ready */
};

typedef struct pl_option {
  uint32_t kind, flags;
  pl_str key, doc;
  pl_str def;            /* default, as written in YAML; empty: none, and `create` receives PL_NULL */
  pl_str example;        /* as written in YAML */
  pl_str allowed;        /* PL_OPT_CHOICE: "a|b|c" */
  double min, max;       /* numbers, durations, sizes: inclusive; -HUGE_VAL and HUGE_VAL if there is no limit */
  uint32_t element;      /* PL_OPT_LIST, PL_OPT_MAP: kind of the elements (any but LIST and MAP) */
  uint32_t nfields;      /* PL_OPT_OBJECT, or elements that are objects */
  const struct pl_option* fields;
} pl_option;

/* ----------------------------------------------------------------------------------------------------------- host -- */

enum { PL_LOG_TRACE = 0, PL_LOG_DEBUG = 1, PL_LOG_INFO = 2, PL_LOG_WARN = 3, PL_LOG_ERROR = 4 };
enum { PL_COUNTER = 1, PL_GAUGE = 2, PL_HISTOGRAM = 3, PL_SUM = 4 /* a gauge: the sum over the node's instances */ };
enum {                    /* pl_host.assigned: where the proposed start position comes from */
  PL_START_POLICY = 0,    /* the source's start policy: no position was committed */
  PL_START_COMMITTED = 1, /* a commit, by this source or another consumer: positions in sinks take precedence */
  PL_START_RESET = 2      /* an offset reset: an operator moved the group's offset, and sinks follow */
};

/* The services that the host offers one instance. Lives until `destroy` has returned. */
typedef struct pl_host {
  uint32_t size;
  uint32_t lane;         /* index of this instance among `lanes`, from 0 (sinks: index of the writer) */
  uint32_t lanes;
  uint32_t reserved;
  void* ctx;             /* first argument of the functions below that take ctx */
  pl_str pipeline, node; /* names in the configuration */
  pl_str state_dir;      /* directory for small persistent files (locks, spools); may not exist yet */
  uint64_t memory_limit; /* bytes that this instance may buffer outside batches (a client library's queue) */

  /* [any] Return whether `log` would print at this level. Ask before formatting an expensive message. */
  int (*log_on)(void* ctx, int level);
  void (*log)(void* ctx, int level, pl_str message); /* [any] */

  /* [call] Return a metric of this instance: pipeline_<name>, labelled with pipeline, node and `labels` (nlabels pairs of
   * name and value, in sequence). The same name and labels return the same metric. */
  uint32_t (*metric)(void* ctx, int kind, pl_str name, pl_str doc, const pl_str* labels, uint32_t nlabels);
  void (*record)(void* ctx, uint32_t metric, double value); /* [any] Counters add, gauges set, histograms observe seconds */

  /* [call] Explain the status that is returned next; in `create` with PL_OK: a warning. option: path of the invalid option
   * ("rules[2].for"), which the host reports as file:line:column, or of a byte of its text ("where@12"); or empty. Several
   * calls are all reported. */
  void (*error)(void* ctx, pl_str detail, pl_str option);

  const pl_schema* (*schema)(void* ctx, const pl_str* names, uint32_t ncols); /* [call] */

  /* [call] Create a batch of `rows` rows, all selected, with no column set. With a parent, it takes the parent's ranges (and
   * its pos, arrival and origin if it has as many rows) and keeps the parent's memory alive. Without one (`poll`, `tick`) it
   * has no ranges yet. The caller holds one reference. Returns NULL if memory is exhausted. */
  pl_batch* (*derive)(void* ctx, pl_batch* parent, const pl_schema* schema, uint32_t rows);
  void* (*alloc)(pl_batch* batch, size_t bytes, size_t align); /* [call] Lives as long as the batch; NULL: out of memory */
  /* [call] Keep foreign memory with the batch; release(mem) is called on any thread when the batch is freed. */
  void (*pin)(pl_batch* batch, void* mem, size_t bytes, void (*release)(void* mem));
  void (*retain)(pl_batch* batch); /* [any] Add a reference */
  /* [any] Release one reference. A batch is delivered once the last reference is gone and every call that it went through
   * returned PL_OK. If it is released in a call that fails, or in `stop` or `destroy`, it is not delivered: its ranges are
   * read again after a restart. */
  void (*release)(pl_batch* batch);

  /* [call] In `apply` and `write` only: dead-letter one row, with its original record and the reason. The row counts as
   * delivered once the dead letter is written. Do not emit or write it. */
  void (*reject)(void* ctx, pl_batch* batch, uint32_t row, pl_str why);

  /* [call] Sources, in start, poll and stop. Report a stream that is about to be read:
   *   `announced`  before the source looks up the committed position at its server: the host reads the sinks' positions.
   *                A source without such a lookup may omit the call.
   *   `assigned`   in: *next is the start position that the source proposes, and `start` its PL_START_*. Out: *next is the
   *                position to start at.
   * PL_RETRY: not now (a sink is not reachable). Do not read the stream; begin again later with `announced`. PL_FATAL: stop. */
  pl_status (*announced)(void* ctx, pl_str stream);
  pl_status (*assigned)(void* ctx, pl_str stream, uint32_t start, uint64_t* next);
  /* [call] Sources: the stream was assigned and no longer is. Waits, for a bounded time, for what is in flight. *settled:
   * position up to which the stream is settled, or PL_UNKNOWN if nothing of it was. */
  void (*revoked)(void* ctx, pl_str stream, uint64_t* settled);

  const void* (*extension)(void* ctx, pl_str name); /* [call] Return the table of "name/version"; NULL: not offered */
} pl_host;

/* ----------------------------------------------------------------------------------------------------- components -- */

enum { PL_SOURCE = 1, PL_TRANSFORM = 2, PL_SINK = 3 };

/* pl_component.caps: what the host cannot find out from the functions. The host relies on these bits and never on the name
 * of a component. Bits that are not listed are reserved and must be 0. */
enum {
  PL_REPLAYABLE = 1,     /* source: can be read again from a position */
  PL_TRANSACTIONAL = 2,  /* sink: keeps positions in its own transactions; offers "position_store/1" */
  PL_IDEMPOTENT = 4,     /* sink: writing a batch twice has the effect of writing it once */
  PL_DETERMINISTIC = 8,  /* transform: the same records give the same output */
  PL_ALERTS = 16,        /* transform: the emitted rows are alerts; the progress line counts them as such */
  PL_RECORDS_UNREAD = 32, /* source: records arrive while no host reads (a Kafka topic); see "arrival/1" */
  PL_OPTION_PORTS = 64   /* transform: its output ports depend on its options; offers "ports/1" */
};

/* [call] Hand a batch on, with one reference. port: index of the output port. */
typedef void (*pl_emit)(void* to, uint32_t port, pl_batch* batch);

typedef struct pl_component {
  uint32_t size;
  uint32_t role, caps;
  uint32_t noptions, nports;
  pl_str name, doc;         /* name: snake_case, unique; doc: the first line is a summary */
  pl_str example;           /* YAML of one node, without its name: "plugin: file_sink\nfrom: parsed\n..." */
  const pl_option* options;
  const pl_str* ports;      /* names of the output ports; nports 0: one, named "out" (sources, transforms). Not used with
                             * PL_OPTION_PORTS */

  /* Life: create, [check], [start, (the functions of its role), stop], destroy. `start` may follow `stop`. */

  /* [main] Check what needs no connection, and change nothing outside the process: `validate` calls this, too. config[i]
   * belongs to options[i]. `host` and `config` live until destroy returns. If it fails, *self is not used. */
  pl_status (*create)(const pl_host* host, const pl_cell* config, void** self);
  pl_status (*check)(void* self); /* [main] Verify that servers are reachable and columns exist. Changes nothing. May be NULL */
  pl_status (*start)(void* self); /* [lane] or [writer] Connect. PL_RETRY: called again later */
  pl_status (*stop)(void* self);  /* [lane], [writer] or [main] Flush and disconnect; no batch follows */
  void (*destroy)(void* self);    /* [main] */

  /* [lane] Sources. Read at most max_rows rows and about max_bytes bytes of payload, and wait at most timeout_ns for the
   * first. max_rows 0: there is no room; only keep connections alive. PL_OK with *out (one reference), PL_AGAIN, PL_END, or
   * a failure. Conventional columns: value (the original bytes, shown by dead letters), key, time, topic, headers. */
  pl_status (*poll)(void* self, uint32_t max_rows, size_t max_bytes, int64_t timeout_ns, pl_batch** out);
  /* [lane] Sources. Every record of the stream below ranges[i].next is settled (`first`: the previous such position). The
   * source may commit it. */
  void (*settle)(void* self, const pl_range* ranges, uint32_t n);

  /* [lane] Transforms. `batch` is borrowed: retain it to keep it, or to emit it unchanged. */
  pl_status (*apply)(void* self, pl_batch* batch, void* to, pl_emit emit);
  /* [lane] Transforms. Called about every 100 ms; now_ns: wall clock. May be NULL. */
  pl_status (*tick)(void* self, int64_t now_ns, void* to, pl_emit emit);
  void (*revoked)(void* self, pl_str stream); /* [lane] Transforms. The stream left this lane: discard its state. May be NULL */

  /* [writer] Write all of the batches or nothing. After PL_RETRY the host calls again with the same batches. If it gives up on
   * them (`on_failure: dead_letters`; also after PL_FATAL), it calls again later with other batches. */
  pl_status (*write)(void* self, pl_batch* const* batches, uint32_t n);

  /* [main], [lane] or [writer] Return the table of "name/version"; NULL: not offered. The pointer may itself be NULL. */
  const void* (*extension)(void* self, pl_str name);

  /* Sinks that may keep dead letters if the configuration names no sink for them: YAML of that node, as a flow mapping on one
   * line ("{plugin: ..., path: ...}"). Empty: not this sink. If several installed sinks qualify, the first by name is used. */
  pl_str dead_letters;
} pl_component;

typedef struct pl_plugin {
  uint32_t size;
  uint32_t minor;           /* PL_ABI_MINOR of the build; a host with a smaller one rejects the plugin */
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

/* Component, all roles: which columns come in and go out, and the kinds of their cells, so that `validate` finds a misspelt
 * column and a kind that does not fit. */
#define PL_EXT_COLUMNS "columns/1"
typedef struct pl_columns {
  const pl_schema* schema; /* NULL: not known before records arrive */
  const uint32_t* kinds;   /* kind of each column's cells, PL_BOOL to PL_JSON (cells may be null, too); PL_NULL: unknown or
                            * mixed. NULL: all unknown */
} pl_columns;
typedef struct pl_ext_columns {
  uint32_t size;
  /* [main] After `create`, before `start`. in: never NULL; for sources its schema is. *out: empty on entry; set it to what
   * `port` emits for this input, or leave it empty (sinks always do). out->kinds: in->kinds, or memory of the instance that is
   * valid until the next call. If a needed column is missing, or its kind can never be used: `error`, and PL_FATAL.
   * A sink with several inputs is called once for each input. The sink of dead letters is called with their columns. */
  pl_status (*columns)(void* self, const pl_columns* in, uint32_t port, pl_columns* out);
} pl_ext_columns;

/* Component, sinks with PL_TRANSACTIONAL: the sink also keeps the positions of streams and the state of transforms. It must
 * write a batch whose ranges have an epoch in one transaction with
 *   - for each stream of the write: its position, moved from the first `first` to the last `next` of its ranges, on the
 *     condition that the stored position is `first` under this epoch;
 *   - the batch's state changes.
 * If a stored position differs, nothing is written, and `write` returns PL_FENCED. If the reply to the commit is lost, `write`
 * returns PL_RETRY; when called again with the same batches, it finds out whether they were committed, and if so returns PL_OK
 * at once. The sink itself finds rows that cannot be stored and calls `reject` for them before it commits. It then writes
 * nothing and returns PL_REJECT; the host calls again without those rows once they are dead-lettered.
 *
 * [lane] The functions below are called on a separate instance, which is created and never started, by one lane at a time.
 * The instance connects on first use. source: the node that reads the stream. PL_RETRY: the store is not reachable. */
#define PL_EXT_POSITION_STORE "position_store/1"
typedef struct pl_position {
  uint64_t next;  /* every record below is written */
  uint64_t epoch; /* of the claim; 0: the stream was never claimed */
} pl_position;
typedef void (*pl_entry)(void* to, pl_str node, pl_str key, pl_str value);
typedef void (*pl_stream_entry)(void* to, pl_str stream);
enum {                     /* pl_state_watermark.rule */
  PL_WATERMARK_NONE = 0,   /* no change; key and value are empty */
  PL_WATERMARK_INSERT = 1, /* only if there is no such entry */
  PL_WATERMARK_UPDATE = 2  /* only if there is one */
};
typedef struct pl_state_watermark { /* position up to which the stored state includes the stream's records */
  uint32_t rule;
  uint32_t reserved;
  pl_str key, value;
} pl_state_watermark;
typedef struct pl_ext_position_store {
  uint32_t size;
  pl_status (*position)(void* self, pl_str source, pl_str stream, pl_position* out);
  /* Replace `seen` by `wanted`, whose epoch is greater. PL_AGAIN: the stored position is no longer `seen`. In the same
   * transaction, store watermark.value as the entry (node "", key watermark.key) of the stream's state, by watermark.rule. */
  pl_status (*claim)(void* self, pl_str source, pl_str stream, pl_position seen, pl_position wanted,
                     pl_state_watermark watermark);
  pl_status (*load)(void* self, pl_str source, pl_str stream, void* to, pl_entry entry); /* all state of the stream */
  /* Report each stream of the source that has a position or state here. May be NULL */
  pl_status (*streams)(void* self, pl_str source, void* to, pl_stream_entry entry);
} pl_ext_position_store;

/* Component, transforms: its state belongs to streams, and survives restarts if a position store keeps it. Such a transform
 * emits the output of a batch within `apply`, and holds no batch back. */
#define PL_EXT_STATE "state/1"
enum {                         /* pl_ext_state.restored: flags */
  PL_RESTORED_OFFSET_RESET = 1, /* an operator moved the offset: treat every record that follows as new */
  PL_RESTORED_DELIVERED = 2     /* what was put with put_until_delivered is delivered: it was written with the entries */
};
typedef struct pl_ext_state {
  uint32_t size;
  /* [lane] One entry of a stream that was assigned to this lane, as it was `put`. Entries come in no particular order. */
  pl_status (*restore)(void* self, pl_str stream, pl_str key, pl_str value);
  /* [lane] All entries were passed. The records since the last `snapshot` follow again. An entry that was put outside of
   * `snapshot` is newer: its value must itself contain the position up to which it includes the stream's records. */
  pl_status (*restored)(void* self, pl_str stream, uint32_t flags);
  /* [lane] Every few seconds, between batches: `put` what has changed since the last snapshot. */
  pl_status (*snapshot)(void* self, pl_str stream);
} pl_ext_state;

/* Host, transforms; PL_EXT_STATE again. */
typedef struct pl_host_state {
  uint32_t size;
  /* [call] In apply, tick and snapshot: store an entry, which is copied. value.p NULL: erase it. */
  void (*put)(void* ctx, pl_str stream, pl_str key, pl_str value);
  /* [call] In tick: give a new batch the stream's current position as its range, so that it is written in order with the
   * stream's records. */
  void (*set_stream)(void* ctx, pl_batch* batch, pl_str stream);
  /* [call] In apply and tick: like `put`, for output that reading records again does not reproduce. The host erases the entry
   * once everything is delivered that this lane has read or emitted so far, with what this call emits. After a crash,
   * `restore` passes the entries that are left: emit their output again, unless PL_RESTORED_DELIVERED is set. */
  void (*put_until_delivered)(void* ctx, pl_str stream, pl_str key, pl_str value);
} pl_host_state;

/* Component, sources: earlier records can be read again while the pipeline runs (`pipeline-host replay`). The functions are
 * called on an instance that is created and not started; it connects on first use. */
#define PL_EXT_REPLAY "replay/1"
enum { /* pl_bound.kind */
  PL_BOUND_NOW = 0,      /* up to the settled position: later records are read by the pipeline itself */
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
  uint64_t first, next;     /* to be read: [first, next), within what exists */
  uint64_t oldest, newest;  /* what exists: [oldest, newest) */
} pl_window;
typedef void (*pl_window_entry)(void* to, const pl_window* window);
typedef struct pl_ext_replay {
  uint32_t size;
  /* [main] Report one window for each stream, including empty ones. `from` is not PL_BOUND_NOW. */
  pl_status (*windows)(void* self, pl_bound from, pl_bound until, void* to, pl_window_entry entry);
  /* [main] Before `start`, which then opens only these windows. `poll` returns PL_END at their end. Nothing is committed. */
  pl_status (*select)(void* self, const pl_window* windows, uint32_t n);
  /* [main] Instead of a replay: reset the group's offsets to the windows' `first`. PL_FATAL while the group has members. The
   * pointer may be NULL: not possible. */
  pl_status (*reset_offsets)(void* self, const pl_window* windows, uint32_t n);
} pl_ext_replay;

/* Component, all roles: what only one instance may use at a time, in this process or in another: a client id at a broker, the
 * folder of a spool. The host rejects a configuration in which two instances use the same. */
#define PL_EXT_EXCLUSIVE "exclusive/1"
#define PL_EXCLUSIVE_SPOOL "spool" /* kind: <state_dir>/spool/<pipeline>/<node>/<lane>, where a source keeps records that no
                                    * sink has. The host reports such folders that hold records and that no source reads */
typedef void (*pl_exclusive_entry)(void* to, pl_str kind, pl_str name, pl_str option);
typedef struct pl_ext_exclusive {
  uint32_t size;
  /* [main] After `create`. Report what the instance uses once it is started. kind: a noun ("MQTT client id"); name: what is
   * used ("'x' at broker:1883"), an absolute path for PL_EXCLUSIVE_SPOOL; option: the path of the option that sets it, or
   * empty. */
  pl_status (*uses)(void* self, void* to, pl_exclusive_entry entry);
} pl_ext_exclusive;

/* Component, sinks: whether, with this configuration, records that are written again exist once afterwards. */
#define PL_EXT_REWRITE "rewrite/1"
typedef struct pl_ext_rewrite {
  uint32_t size;
  pl_status (*rewritable)(void* self); /* [main] Created and not started. If not PL_OK: `error` states what would achieve it */
} pl_ext_rewrite;

/* Host, transforms: the arrival clock of a stream, for reasoning about absence (silence, windows that close by time). Its
 * reading is the latest time for which every record that arrived before it has been read. It never decreases, is restored
 * with the stream's state, and is independent of the times that devices write into their records. It stands still while
 * nothing proves that the stream has been read: the lane is blocked, the connection is cut, the server is frozen.
 * Readings are ns since 1970, less the time in which nothing could arrive (gaps): while a source that is not
 * PL_RECORDS_UNREAD was disconnected or the host was down, and steps of the machine's clock. The host keeps clocks only if a
 * transform looks up this extension in `create`. */
#define PL_EXT_ARRIVAL "arrival/1"
typedef struct pl_arrival {
  int64_t now_ns;       /* the clock's reading */
  int64_t behind_ns;    /* length of all gaps: a reading plus behind_ns is wall time (exact since the last gap) */
  int64_t connected_ns; /* reading at the end of the last gap. Queued records may follow a gap, so absence is judged after a
                         * settling time. INT64_MIN: there was none */
} pl_arrival;
typedef struct pl_host_arrival {
  uint32_t size;
  /* [call] In restored, apply, tick and snapshot. PL_AGAIN: the stream has no arrival clock (yet): it is not assigned to this
   * lane, nothing of it arrived or was observed, or its source reports no arrivals. */
  pl_status (*arrival)(void* ctx, pl_str stream, pl_arrival* out);
} pl_host_arrival;

/* Host, sources: whether the source can receive records (also for readiness), and what "arrival/1" needs beyond
 * pl_batch.arrival. Host, sinks: `receiving` only, with the connection to the server in place of the reception of records, so
 * that a sink that has nothing to write is not ready while it is disconnected. */
#define PL_EXT_LIVENESS "liveness/1"
typedef struct pl_host_liveness {
  uint32_t size;
  /* [any] The source can receive records from now on (why empty), or not, and why: "the broker closed the connection". While
   * it cannot, the node is not ready, and the time is a gap of the arrival clocks, unless the source is PL_RECORDS_UNREAD.
   * Initially such a gap is open; readiness assumes that a source that has started can receive records. */
  void (*receiving)(void* ctx, pl_str why_not);
  /* [call] In poll. Not 0: a transform uses "arrival/1". Otherwise arrival times and observed ends are not needed. */
  uint32_t (*wanted)(void* ctx);
  /* [call] In poll. Every record of an assigned stream that arrived before `before_ns` (wall clock) has a position below
   * `end`. Report it about every second, also without any record and under back-pressure (max_rows 0), and only if it is
   * proven: not from a cached end, and not for a time in which the server may have received records unknown to the source. */
  void (*observed_end)(void* ctx, pl_str stream, uint64_t end, int64_t before_ns);
} pl_host_liveness;

/* Component, transforms with PL_ALERTS: the alerts that are open, for `pipeline-host alerts`. */
#define PL_EXT_ALERTS "alerts/1"
typedef void (*pl_alert_entry)(void* to, pl_str alert);
typedef struct pl_ext_alerts {
  uint32_t size;
  /* [lane] Between two calls, or [main] on an instance that was created, started and had its state restored for this purpose
   * and that gets no records. Report each open alert as one JSON object on one line, with the members that the emitted rows
   * have: id, rule, severity, since (RFC 3339), value, stream, and the columns that identify its subject (device_id). */
  pl_status (*open_alerts)(void* self, void* to, pl_alert_entry entry);
} pl_ext_alerts;

/* Host, sinks without PL_TRANSACTIONAL: what is known about a write before it returns, so that a row that is rejected, or that
 * cannot be written now, does not hold up the others. */
#define PL_EXT_EARLY_REJECT "early_reject/1"
typedef struct pl_host_early_reject {
  uint32_t size;
  /* [call] In `write`. Like pl_host.reject, but the row goes to the dead-letter writer at once, whatever this write returns.
   * If the batches are written again, the row is not selected. PL_AGAIN: the dead-letter queue is full; the row was not
   * taken. */
  pl_status (*reject)(void* ctx, pl_batch* batch, uint32_t row, pl_str why);
  /* [call] In `write`. A part of the batches was delivered. If this write returns PL_RETRY, the back-off begins anew. An early
   * rejection has the same effect. */
  void (*progress)(void* ctx);
} pl_host_early_reject;

/* Host, sinks: a write that needs more than its server has. */
#define PL_EXT_WRITE_SIZE "write_size/1"
typedef struct pl_host_write_size {
  uint32_t size;
  /* [call] In `write`, before it returns PL_RETRY: nothing of the batches is stored, and fewer rows might be. If the next
   * attempt reports it as well, the host writes the batches in parts. The rows of one record stay together. */
  void (*too_large)(void* ctx);
} pl_host_write_size;

/* Component, transforms with PL_OPTION_PORTS: output ports that depend on the options (a router). */
#define PL_EXT_PORTS "ports/1"
typedef void (*pl_port_entry)(void* to, pl_str name);
typedef struct pl_ext_ports {
  uint32_t size;
  /* [main] After `create`, before `start`. Report the name of each output port, in the order of the indexes that `emit` takes.
   * The list does not change during the life of the instance. A node that reads from this one must name the port. */
  pl_status (*ports)(void* self, void* to, pl_port_entry entry);
} pl_ext_ports;

/* Host, all roles: the wall clock. It is the machine's clock, except in `pipeline-host test`, where it is simulated. A transform
 * whose output depends on the time reads it here, so that its tests are reproducible. */
#define PL_EXT_CLOCK "clock/1"
typedef struct pl_host_clock {
  uint32_t size;
  int64_t (*now)(void* ctx); /* [any] ns since 1970 */
} pl_host_clock;

/* Host, transforms: memory that counts against the memory limit of the pipeline. A transform whose state grows with what devices
 * send reports it here, and limits it. */
#define PL_EXT_MEMORY "memory/1"
typedef struct pl_host_memory {
  uint32_t size;
  /* [any] `bytes`: the state that this instance holds now. Returns PL_OK, or PL_AGAIN while the state of all transforms of the
   * pipeline exceeds its share of the limit: then hold less, or at least no more. */
  pl_status (*held)(void* ctx, uint64_t bytes);
} pl_host_memory;

/* Host, sources: columns on demand. Most pipelines never read some columns of a source (the headers of a record), except in
 * dead letters. A source may leave such a column out, and pass a function that makes its cells. The host calls the function for
 * all rows before other nodes see the batch, unless no node behind the source uses the column (see "demand/1"), and for one row
 * when a dead letter needs it. A column that nothing needs is never made. */
#define PL_EXT_ON_DEMAND "on_demand/1"
typedef void (*pl_put_cell)(void* to, pl_cell cell); /* copies the bytes of the cell */
/* [any] Make the cell of one row: call `put` once, or not at all for null. It is not called twice at the same time for one batch.
 * It may call `put`, and no other function of the host. If not PL_OK: memory is exhausted. */
typedef pl_status (*pl_make_cell)(void* mem, uint32_t row, void* to, pl_put_cell put);
typedef struct pl_host_on_demand {
  uint32_t size;
  /* [call] In poll, for a batch that this source derived and has not handed over. Do not set cols[column]: the host sets it.
   * mem: lives as long as the batch (pl_host.pin). */
  void (*later)(void* ctx, pl_batch* batch, uint32_t column, void* mem, pl_make_cell make);
} pl_host_on_demand;

/* Component, transforms: demand. The columns of its input that a transform uses. The host assumes that a transform without this
 * table, and every sink, uses all columns. A column that is not used may have only null cells ("on_demand/1"). */
#define PL_EXT_DEMAND "demand/1"
typedef void (*pl_column_entry)(void* to, pl_str column);
typedef struct pl_ext_demand {
  uint32_t size;
  /* [main] After `create`, before `start`. Report each column of the input that this transform uses itself; a name with a NULL
   * pointer: all columns. *passes_on: 0 on entry; set it to 1 if rows are emitted with the columns that they came with. The
   * transform then also uses those that the readers of its output use. */
  pl_status (*used)(void* self, void* to, pl_column_entry entry, uint32_t* passes_on);
} pl_ext_demand;

#ifdef __cplusplus
}
#endif
#endif
