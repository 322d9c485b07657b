// SPDX-License-Identifier: Apache-2.0
// Writes rejected rows to a pipeline's dead-letter sink. Any thread may write. The sink is set before lanes and writers
// start, and replaced only while they are quiescent.
#pragma once

#include "engine/dead_letter_batch.hpp"
#include "engine/discarded_letters.hpp"
#include "engine/local_letters.hpp"
#include "engine/pipeline_events.hpp"
#include "engine/reason_limit.hpp"
#include "engine/sink_node.hpp"

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace pl::engine {

// The name of the dead-letter sink in the configuration.
inline constexpr std::string_view dead_letters_node = "dead_letters";

class dead_letter_writer {
 public:
  // events: receives node_failed if a dead letter cannot be written anywhere.
  // local: where dead letters go that the sink rejects in any form.
  dead_letter_writer(services common, block_pool& pool, std::string pipeline, std::filesystem::path local,
                     pipeline_events& events)
      : common_(common),
        pipeline_(pipeline),
        format_(common, pool, pipeline),
        discarded_(common, std::move(pipeline)),
        local_(std::move(local)),
        events_(events) {}

  void write_to(std::shared_ptr<sink_node> sink) noexcept { sink_ = std::move(sink); }
  [[nodiscard]] const std::shared_ptr<sink_node>& sink() const noexcept { return sink_; }

  // Set how many originals are stored.
  void limit(const config::collapse_settings& to) { limit_.set(to); }
  // Log what was discarded. Call it regularly.
  void report() { discarded_.report(); }

  [[nodiscard]] column_set columns() const { return format_.columns(); }
  // Queue the rows for the sink. latch: counted down when they are written; may be null. Dead letters that the sink itself
  // rejects are written to it again without a part of their content, and in the end to the local file. False: this
  // failed, too, and the pipeline stops. Many rows that a transform rejects for one reason are collapsed; they are
  // discarded if the sink is configured to do so.
  bool write(const std::vector<rejection>& rejected, std::string_view node, refused_at where,
             const std::shared_ptr<release_latch>& latch = nullptr);
  // Queue the rows, and write them without waiting for a full batch. Null: they cannot be written.
  std::unique_ptr<pending_dead_letters> write_urgently(std::vector<rejection> rejected, std::string_view node,
                                                       refused_at where);

 private:
  using batches = std::vector<batch_ref>;

  bool write_as_batches(const std::vector<rejection>& rejected, std::string_view node, refused_at where,
                        const std::shared_ptr<release_latch>& latch);
  void write_all(batches all, const std::shared_ptr<release_latch>& latch);
  [[nodiscard]] batches limited(const std::vector<rejection>& rejected, std::string_view node);
  void warn_of_collapse(const rejection& first, std::string_view node);
  bool write_smaller(const rejection& rejected);
  bool write_locally(const record_batch::replacement& original, const rejection& rejected);

  services common_;
  const std::string pipeline_;
  dead_letter_format format_;
  discarded_letters discarded_;
  reason_limit limit_;
  local_letters local_;
  pipeline_events& events_;
  std::shared_ptr<sink_node> sink_;
};

}  // namespace pl::engine
