// SPDX-License-Identifier: Apache-2.0
#include "broker_link.hpp"

#include "filters.hpp"

#include <pipeline/posix.hpp>

#include <spool_common/folders.hpp>

#include <algorithm>
#include <string_view>
#include <system_error>
#include <utility>

namespace mqtt {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

constexpr auto first_pause = 500ms;
constexpr auto longest_pause = 30s;
constexpr auto longest_pause_if_unsure = 5s;  // the broker may be restarting repeatedly
constexpr auto short_life = 10s;              // shorter connections are renewed with a back-off

constexpr int unconfirmed = -1;  // the QoS of a subscription that the broker has not confirmed yet

// Return a sentence about the subscriptions that the broker granted with a lower QoS; empty if there are none.
std::string about_lower_grants(const std::string& broker, const std::vector<subscription>& all) {
  std::string text;
  for (const auto& s : all)
    if (s.granted < s.qos)
      text += (text.empty() ? "" : ", ") + s.filter + " with QoS " + std::to_string(s.granted) + " instead of " +
              std::to_string(s.qos);
  if (text.empty()) return text;
  return broker + " granted " + text +
         ": messages may be lost (QoS 0) or repeated (QoS 1); raise the broker's limit for this user and topic, or "
         "lower `qos`";
}

}  // namespace

broker_link::broker_link(pl::context ctx, const source_options& o, std::vector<std::string> filters)
    : options_(o),
      ctx_(ctx),
      settings_(connection_of(o, ctx)),
      filters_(std::move(filters)),
      connected_(ctx.gauge("mqtt_source_connected", "1 if the source is connected to the broker, else 0")),
      connects_(ctx.counter("mqtt_source_connects_total", "Connections made to the broker")),
      sessions_lost_(ctx.counter("mqtt_source_sessions_lost_total",
                                 "Connections at which the broker no longer had the session: messages that it should "
                                 "have kept are lost")),
      grants_lowered_(ctx.counter("mqtt_source_lower_qos_total",
                                  "Subscriptions that the broker granted with a lower QoS than requested, at each "
                                  "connection")),
      live_(ctx.liveness()),
      pause_(first_pause) {}

pl::result<void> broker_link::check() const {
  auto settings = settings_;
  settings.client_id += "-check";
  settings.clean_session = true;
  settings.session_expiry = 0s;
  client probe(std::move(settings));
  probe.on_message([](const arrival&) {});
  auto connected = probe.connect();
  if (!connected.ok()) return connected;
  std::vector<std::string> plain;
  for (const auto& f : filters_) plain.emplace_back(split(f).filter);
  auto granted = probe.subscribe(plain, options_.qos, send_retained::never);
  probe.disconnect();
  if (!granted.ok()) return granted.why();
  std::vector<subscription> all;
  for (std::size_t i = 0; i < filters_.size(); ++i) all.push_back({filters_[i], options_.qos, (*granted)[i]});
  if (const auto why = about_lower_grants(probe.name(), all); !why.empty()) return pl::bad_option("qos", why);
  return {};
}

// ------------------------------------------------------------------------------------------------------- connecting ---

pl::result<void> broker_link::open(std::shared_ptr<spool::log> to, fs::path folder) {
  spool_ = std::move(to);
  folder_ = std::move(folder);
  session_.load(folder_);
  note_unused_sessions();
  connect_at_ = {};
  pause_ = first_pause;
  short_lives_ = 0;
  auto r = connect();
  if (!r.ok() && r.why().code == pl::status::fatal && worked_) return pl::retry(r.why().message);
  return r;
}

pl::result<void> broker_link::tend(bool full) {
  if (client_ && full) {
    ctx_.warn(
        "the spool is full (spool.max_bytes, or the disk): disconnected from the broker, which keeps the messages, "
        "until the sinks have caught up");
    why_not_ = "the spool is full (spool.max_bytes, or the disk)";
    leave();
  }
  if (client_ && !client_->connected()) renew();
  const bool due = !client_ && !full && clock::now() >= connect_at_;
  auto r = due ? attempt() : pl::result<void>();
  report();
  return r;
}

pl::result<void> broker_link::attempt() {
  auto r = connect();
  if (r.ok()) return r;
  // After a working connection the settings are known to be good: a broker that rejects them has a fault of its own (its
  // user database is down, an administrator is changing it), or the settings become valid again.
  if (r.why().code == pl::status::fatal && !worked_) return r;
  short_lives_ = 0;  // the broker was down, which explains the short connection
  put_off(r.why());
  return {};
}

// Handle a lost connection. Two clients with the same id disconnect each other at each reconnect, so the back-off
// increases with each attempt.
void broker_link::renew() {
  const auto name = client_->name();
  const auto loss = client_->in_flight().loss();
  const bool taken_over = client_->in_flight().taken_over();
  const bool lasted = clock::now() - connected_since_ >= short_life && !taken_over;
  leave();
  short_lives_ = lasted ? 0 : short_lives_ + 1;
  if (lasted) {
    pause_ = first_pause;
    connect_at_ = {};
    why_not_ = name + ": " + loss;
    return ctx_.warn(name + ": " + loss + "; connecting again");
  }
  if (!taken_over) pause_ = std::min<std::chrono::nanoseconds>(pause_, longest_pause_if_unsure);
  const auto more = taken_over         ? "; give each host and lane a different client_id, or omit it"
                    : short_lives_ < 3 ? ""
                                       : "; check whether another client uses the same client_id";
  put_off(pl::retry(name + ": " + loss + more + " (client_id " + settings_.client_id + ")"));
}

void broker_link::put_off(const pl::failure& why) {
  why_not_ = why.message;
  ctx_.warn(why.message + "; retrying in " + std::to_string(std::chrono::ceil<std::chrono::seconds>(pause_).count()) +
            " s");
  connect_at_ = clock::now() + pause_;
  pause_ = std::min<std::chrono::nanoseconds>(pause_ * 2, longest_pause);
}

pl::result<void> broker_link::connect() {
  auto settings = settings_;
  if (options_.qos == 2) {
    const auto store = folder_ / "qos2";
    (void)pl::make_folders(store);  // the client reports why the folder is missing
    settings.store = store.string();
  }
  auto fresh = std::make_unique<client>(std::move(settings));
  const auto taking = std::make_shared<intake>(ctx_, spool_, options_.retained == retained_messages::skip, filters_,
                                               session_.without(filters_));
  fresh->on_message([taking](const arrival& m) { taking->take(m); });
  intake_ = taking;
  if (auto r = fresh->connect(); !r.ok()) return r;
  auto subscribed = prepare_session(*fresh);
  if (subscribed.ok()) subscribed = subscribe(*fresh);
  if (!subscribed.ok()) {
    fresh->disconnect();
    return subscribed;
  }
  client_ = std::move(fresh);
  connected_since_ = clock::now();
  if (short_lives_ == 0) pause_ = first_pause;
  worked_ = true;
  connects_.add();
  connected_.set(1);
  ctx_.info("connected to " + client_->name() + " as " + settings_.client_id +
            (client_->session_present() ? " (session resumed)" : ""));
  return {};
}

void broker_link::report() const {
  const auto fault = spool_ ? spool_->fault() : std::string();
  if (!fault.empty()) return live_.disconnected("messages cannot be stored in the spool: " + fault);
  if (client_ && client_->connected() && !intake_->stuck()) return live_.connected();
  live_.disconnected(client_ && intake_->stuck() ? "a message cannot be stored in the spool" : why_not_);
}

void broker_link::close() {
  leave();
  spool_.reset();  // it is locked as long as anything refers to it
}

// Disconnect.
void broker_link::leave() {
  connected_.set(0);
  live_.disconnected(why_not_);
  if (intake_) intake_->close();
  if (client_ && intake_ && intake_->stuck())
    // The thread waits for the disk. Destroying the client would acknowledge a message that is not stored.
    client_.release();  // NOLINT(bugprone-unused-return-value): leaked on purpose until the process ends
  if (client_) client_->disconnect();
  client_.reset();
  intake_.reset();
}

// ------------------------------------------------------------------------------------------------------ the session ---

bool broker_link::keeps_session() const noexcept {
  return !settings_.clean_session && (settings_.version == protocol::v3_1_1 || settings_.session_expiry > 0s);
}

// Compare the broker's session with the one that is remembered.
pl::result<void> broker_link::prepare_session(const client& fresh) {
  const auto broker = settings_.url.name();
  const bool same = session_.is_of(broker, settings_.client_id);
  same_session_ = same && fresh.session_present();
  if (!keeps_session()) return session_.forget(), pl::result<void>();
  // A session with this id is probably the one that is remembered, at the same broker under another name.
  const bool renamed = fresh.session_present() && session_.client_id() == settings_.client_id;
  if (session_.known() && !same && !renamed) note_other_session();
  if (!fresh.session_present()) {
    if (same) note_lost_session();
    session_.begin(broker, settings_.client_id);
  } else if (!same) {
    session_.take_over(broker, settings_.client_id);
  }
  if (settings_.version == protocol::v5 && fresh.session_expiry() < settings_.session_expiry)
    ctx_.warn(fresh.name() + " keeps the session for " + std::to_string(fresh.session_expiry().count()) +
              " s only, not for " + std::to_string(settings_.session_expiry.count()) +
              " s (session_expiry): messages are lost if the host is disconnected for longer");
  return {};
}

void broker_link::note_lost_session() const {
  sessions_lost_.add();
  ctx_.warn("LOST: " + settings_.url.name() + " no longer has the session of client id " + settings_.client_id +
            ": messages that were published while the host was disconnected are lost; check `session_expiry`, and "
            "whether the broker keeps its sessions when it restarts");
}

// The filters of the other session are not in this one, but its messages are.
void broker_link::note_other_session() const {
  ctx_.warn("the last connection was to " + session_.broker() + " as " + session_.client_id() + ", this one is to " +
            settings_.url.name() + " as " + settings_.client_id +
            ": messages that the broker keeps for the other session are not read; delete that session, or configure "
            "its client_id again to read them");
}

// Warn of sessions that no lane uses: those of lanes that were removed, and of adopted spools. With $share, brokers may
// still assign messages to them.
void broker_link::note_unused_sessions() const {
  for (const auto& folder : spool::folders_beyond(folder_.parent_path(), ctx_.lane(), ctx_.lanes())) {
    session other;
    other.load(folder.path);
    if (other.known() && !other.is_of(settings_.url.name(), settings_.client_id))
      ctx_.warn("no lane uses the session of client id " + other.client_id() + " at " + other.broker() +
                " any longer: messages that the broker keeps for it are not read; delete that session, or configure "
                "its client_id to read them. To silence this message, delete " +
                (folder.path / "session").string());
  }
}

// Return the filters of the SUBSCRIBE packet. MQTT 3.1.1 brokers send retained messages for each filter in it, so leave
// out those that the session has. MQTT 5 brokers send them for new subscriptions only (Retain Handling 1).
std::vector<std::string> broker_link::filters_to_subscribe(bool resumed) const {
  if (!resumed || settings_.version == protocol::v5) return filters_;
  std::vector<std::string> missing;
  for (const auto& f : filters_)
    if (const auto* has = session_.find(f); has == nullptr || has->qos != options_.qos) missing.push_back(f);
  return missing;
}

// Subscribe to what is configured, then end the other subscriptions: in the other order, messages that both match would
// be lost in between. The session is stored before both, so that after a crash it contains at least what the broker has.
pl::result<void> broker_link::subscribe(client& fresh) {
  const auto missing = filters_to_subscribe(same_session_);
  std::vector<subscription> all;
  for (const auto& f : filters_) {
    const auto* has = session_.find(f);
    const bool kept = has != nullptr && std::ranges::find(missing, f) == missing.end();
    all.push_back(kept ? *has : subscription{f, options_.qos, options_.qos});
  }
  if (keeps_session()) {
    auto remembered = all;
    for (auto& s : remembered)
      if (std::ranges::find(missing, s.filter) != missing.end()) s.qos = unconfirmed;
    session_.expect(remembered);
    if (auto r = session_.store(); !r.ok()) return r;
  }
  if (!missing.empty()) {
    const auto granted = fresh.subscribe(missing, options_.qos, send_retained::if_new);
    if (!granted.ok()) return granted.why();
    for (std::size_t i = 0; i < missing.size(); ++i)
      std::ranges::find(all, missing[i], &subscription::filter)->granted = (*granted)[i];
  }
  note_grants(all);
  if (!keeps_session()) return {};
  session_.expect(all);
  if (fresh.session_present() && !session_.removed().empty())
    if (auto r = fresh.unsubscribe(session_.removed()); !r.ok()) return r;
  return session_.store();
}

void broker_link::note_grants(const std::vector<subscription>& all) {
  const auto lower = std::ranges::count_if(all, [](const auto& s) { return s.granted < s.qos; });
  if (lower == 0) return;
  grants_lowered_.add(static_cast<double>(lower));
  ctx_.warn(about_lower_grants("MQTT broker " + settings_.url.name(), all));
}

}  // namespace mqtt
