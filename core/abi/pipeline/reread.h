/* SPDX-License-Identifier: Apache-2.0 */
/* The extension "reread/1" of the plugin interface (abi.h). It has a header of its own because few components need it. */
#ifndef PIPELINE_REREAD_H
#define PIPELINE_REREAD_H

#include <pipeline/abi.h>

/* Host, to transforms with "state/1". After a restart, the records since the last snapshot follow again. The output of those
 * that were delivered before is discarded: it was delivered under the configuration of that time. */
#define PL_EXT_REREAD "reread/1"
typedef struct pl_host_reread {
  uint32_t size;
  /* [call] In restored: the position below which the stream's records are only read for the transforms' state. Their output
   * is discarded, and so is what they `put`: do not put it. The host calls `snapshot` only once they are read. 0: none. */
  uint64_t (*delivered)(void* ctx, pl_str stream);
} pl_host_reread;

#endif
