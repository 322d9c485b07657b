/* SPDX-License-Identifier: Apache-2.0 */
/* The extension "next_write/1" of the plugin interface (abi.h). It has a header of its own because few components need it. */
#ifndef PIPELINE_NEXT_WRITE_H
#define PIPELINE_NEXT_WRITE_H

#include <pipeline/abi.h>

/* Host, to sinks. A sink that waits for its server in `write` can prepare the write that follows. What it prepares must stay
 * without effect until that write: the host may still divide the batches, write others first, or drop them. */
#define PL_EXT_NEXT_WRITE "next_write/1"
typedef struct pl_host_next_write {
  uint32_t size;
  /* [call] In `write`: the batches of the write that follows, if it is due by now, otherwise *n is 0. They may be read until
   * this write returns and, if it returns PL_OK, in the write that follows, if `peeked` returns 1 there. */
  pl_batch* const* (*peek)(void* ctx, uint32_t* n);
  /* [call] In `write`: 1 if the batches of this write are those, unchanged, that `peek` returned in the write before, which
   * returned PL_OK; otherwise 0: discard what was prepared. If the host drops the batches that `peek` returned, and no other
   * write is due at once, it calls `write` without batches (n is 0), so that the sink need not keep what it prepared until
   * another write. The host ignores the status of that call. */
  uint32_t (*peeked)(void* ctx);
} pl_host_next_write;

#endif
