/* SPDX-License-Identifier: Apache-2.0
 * Two components in plain C11: every_nth (a transform that samples) and archive_sink (a sink that keeps originals). */
#define _POSIX_C_SOURCE 200809L
#include <pipeline/abi.h>

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STR(literal) \
  { (literal), sizeof(literal) - 1 }

static pl_str str(const char* text) { return (pl_str){text, strlen(text)}; }

/* Explain the status that is returned next. option: path of the invalid option, or "". */
static pl_status fail(const pl_host* host, pl_status status, const char* why, const char* option) {
  host->error(host->ctx, str(why), str(option));
  return status;
}

static pl_status nothing_to_do(void* self) {
  (void)self;
  return PL_OK;
}

/* ------------------------------------------------------------------------------------------------------ every_nth -- */

typedef struct every_nth {
  const pl_host* host;
  uint64_t n;
} every_nth;

static pl_status every_nth_create(const pl_host* host, const pl_cell* config, void** self) {
  every_nth* t = malloc(sizeof *t);
  if (t == NULL) return fail(host, PL_FATAL, "out of memory", "");
  t->host = host;
  t->n = (uint64_t)config[0].as.i; /* config[i] belongs to options[i]; the host has checked kind, min and max */
  *self = t;
  return PL_OK;
}

static void every_nth_destroy(void* self) { free(self); }

/* Decide by position, not by counting, so that the same records are kept when they are read again. */
static int is_kept(const every_nth* t, const pl_batch* b, uint32_t row) {
  return b->pos == NULL || b->pos[row] % t->n == 0;
}

static pl_status every_nth_apply(void* self, pl_batch* in, void* to, pl_emit emit) {
  const every_nth* t = self;
  const pl_host* host = t->host;
  pl_batch* out = host->derive(host->ctx, in, in->schema, in->rows);
  if (out == NULL) return fail(host, PL_FATAL, "out of memory", "");
  uint32_t* kept = host->alloc(out, in->nsel * sizeof *kept, _Alignof(uint32_t));
  if (kept == NULL) {
    host->release(out);
    return fail(host, PL_FATAL, "out of memory", "");
  }
  for (uint32_t c = 0; c < in->schema->ncols; ++c) out->cols[c] = in->cols[c]; /* shared, not copied */
  out->sel = kept;
  out->nsel = 0;
  for (uint32_t i = 0; i < in->nsel; ++i) {
    const uint32_t row = in->sel != NULL ? in->sel[i] : i;
    if (is_kept(t, in, row)) kept[out->nsel++] = row;
  }
  emit(to, 0, out); /* passes our reference; needed even if no row is left, because its ranges must be settled */
  return PL_OK;
}

/* "columns/1": the columns go out as they come in, so that `validate` can check the nodes that follow. */
static pl_status every_nth_columns(void* self, const pl_columns* in, uint32_t port, pl_columns* out) {
  (void)self, (void)port;
  *out = *in;
  return PL_OK;
}
static const pl_ext_columns every_nth_columns_table = {sizeof(pl_ext_columns), every_nth_columns};

static const void* every_nth_extension(void* self, pl_str name) {
  (void)self;
  const pl_str columns = STR(PL_EXT_COLUMNS);
  return name.n == columns.n && memcmp(name.p, columns.p, name.n) == 0 ? &every_nth_columns_table : NULL;
}

static const pl_option every_nth_options[] = {{
    .kind = PL_OPT_INT,
    .key = STR("n"),
    .doc = STR("Keep the records whose position in their stream is a multiple of this."),
    .def = STR("10"),
    .min = 1,
    .max = 1e9,
}};

static const pl_component every_nth_component = {
    .size = sizeof(pl_component),
    .role = PL_TRANSFORM,
    .caps = PL_DETERMINISTIC,
    .noptions = 1,
    .name = STR("every_nth"),
    .doc = STR("Keeps every n-th record of a stream."),
    .example = STR("plugin: every_nth\nfrom: telemetry\nn: 10\n"),
    .options = every_nth_options,
    .create = every_nth_create,
    .start = nothing_to_do,
    .stop = nothing_to_do,
    .destroy = every_nth_destroy,
    .apply = every_nth_apply,
    .extension = every_nth_extension,
};

/* --------------------------------------------------------------------------------------------------- archive_sink -- */

typedef struct archive_sink {
  const pl_host* host;
  char* path;
  int file;
  char* text; /* the lines of one write */
  size_t used, room;
} archive_sink;

static void archive_destroy(void* self) {
  archive_sink* s = self;
  if (s->file >= 0) close(s->file);
  free(s->path);
  free(s->text);
  free(s);
}

static pl_status archive_create(const pl_host* host, const pl_cell* config, void** self) {
  if (config[0].len == 0) return fail(host, PL_FATAL, "the path is empty; name a file", "path");
  archive_sink* s = calloc(1, sizeof *s);
  if (s == NULL) return fail(host, PL_FATAL, "out of memory", "");
  s->host = host;
  s->file = -1;
  s->path = strndup(config[0].as.p, config[0].len);
  if (s->path == NULL) {
    archive_destroy(s);
    return fail(host, PL_FATAL, "out of memory", "");
  }
  *self = s;
  return PL_OK;
}

/* State what happened, where, and what to do. The host logs it and calls again after a back-off. */
static pl_status try_later(const archive_sink* s, const char* what) {
  char why[1024];
  snprintf(why, sizeof why, "cannot %s '%s': %s; check the folder, its permissions and the space on its disk", what,
           s->path, strerror(errno));
  return fail(s->host, PL_RETRY, why, "");
}

static pl_status archive_stop(void* self) {
  archive_sink* s = self;
  if (s->file >= 0) close(s->file);
  s->file = -1;
  return PL_OK;
}

static pl_status archive_start(void* self) {
  archive_sink* s = self;
  archive_stop(s);
  s->file = open(s->path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
  return s->file < 0 ? try_later(s, "open") : PL_OK;
}

static int append_line(archive_sink* s, const char* bytes, size_t n) {
  if (s->room - s->used < n + 1) {
    const size_t room = 2 * (s->used + n + 1);
    char* text = realloc(s->text, room);
    if (text == NULL) return 0;
    s->text = text;
    s->room = room;
  }
  if (n != 0) memcpy(s->text + s->used, bytes, n);
  s->used += n;
  s->text[s->used++] = '\n';
  return 1;
}

/* Return why a cell cannot be written as a line; NULL: it can. */
static const char* fault_of(const pl_cell* c) {
  if (c == NULL) return "there is no column 'value'";
  if (c->kind != PL_BYTES && c->kind != PL_TEXT && c->kind != PL_JSON) return "'value' is neither bytes nor text";
  if (c->len != 0 && memchr(c->as.p, '\n', c->len) != NULL) return "'value' contains a line break";
  return NULL;
}

static const pl_cell* value_column(const pl_batch* b) {
  const pl_str wanted = STR("value");
  for (uint32_t c = 0; c < b->schema->ncols; ++c) {
    const pl_str name = b->schema->names[c];
    if (name.n == wanted.n && memcmp(name.p, wanted.p, name.n) == 0) return b->cols[c];
  }
  return NULL;
}

static int append_batch(archive_sink* s, pl_batch* b) {
  const pl_cell* values = value_column(b);
  for (uint32_t i = 0; i < b->nsel; ++i) {
    const uint32_t row = b->sel != NULL ? b->sel[i] : i;
    const pl_cell* value = values != NULL ? &values[row] : NULL;
    const char* fault = fault_of(value);
    if (fault != NULL)
      s->host->reject(s->host->ctx, b, row, str(fault)); /* dead-lettered; the other rows are written */
    else if (!append_line(s, value->as.p, value->len))
      return 0;
  }
  return 1;
}

/* Write all batches or nothing: cut off a partial write, because the host calls again with the same batches. */
static pl_status archive_write(void* self, pl_batch* const* batches, uint32_t n) {
  archive_sink* s = self;
  s->used = 0;
  for (uint32_t i = 0; i < n; ++i)
    if (!append_batch(s, batches[i])) return fail(s->host, PL_RETRY, "out of memory", "");
  const off_t size = lseek(s->file, 0, SEEK_END);
  if (size < 0) return try_later(s, "seek in");
  for (size_t done = 0; done < s->used;) {
    const ssize_t wrote = write(s->file, s->text + done, s->used - done);
    if (wrote >= 0) {
      done += (size_t)wrote;
    } else if (errno != EINTR) {
      const pl_status status = try_later(s, "write to");
      return ftruncate(s->file, size) == 0 ? status : fail(s->host, PL_FATAL, "cannot remove a partial line", "");
    }
  }
  return PL_OK;
}

static const pl_option archive_options[] = {{
    .kind = PL_OPT_TEXT,
    .flags = PL_REQUIRED,
    .key = STR("path"),
    .doc = STR("File to append to, one line for each record."),
    .example = STR("originals.ndjson"),
    .min = -HUGE_VAL,
    .max = HUGE_VAL,
}};

static const pl_component archive_component = {
    .size = sizeof(pl_component),
    .role = PL_SINK,
    .noptions = 1,
    .name = STR("archive_sink"),
    .doc = STR("Appends the original records to a file, byte for byte, one per line."),
    .example = STR("plugin: archive_sink\nfrom: telemetry\npath: originals.ndjson\n"),
    .options = archive_options,
    .create = archive_create,
    .start = archive_start,
    .stop = archive_stop,
    .destroy = archive_destroy,
    .write = archive_write,
};

static const pl_component* const components[] = {&every_nth_component, &archive_component};

PL_PUBLIC const pl_plugin pl_plugin_v1 = {
    .size = sizeof(pl_plugin),
    .minor = PL_ABI_MINOR,
    .ncomponents = 2,
    .name = STR("archive"),
    .version = STR("1.0.0"),
    .components = components,
};
