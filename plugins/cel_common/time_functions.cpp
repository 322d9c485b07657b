// SPDX-License-Identifier: Apache-2.0
#include "cel_common/library.hpp"
#include "cel_common/zones.hpp"

#include <chrono>

namespace pl::cel {

namespace {

constexpr std::int64_t second_ns = 1'000'000'000;

// Return a part of a local time. All numbers begin at 0, except for the year and `date`.
std::int64_t part_of(time_part part, std::int64_t local_seconds, std::uint32_t nanoseconds) noexcept {
  using namespace std::chrono;
  const sys_seconds at{std::chrono::seconds(local_seconds)};
  const auto day = std::chrono::floor<days>(at);
  const year_month_day calendar{day};
  const auto in_day = (at - day).count();
  switch (part) {
    case time_part::full_year:
      return static_cast<int>(calendar.year());
    case time_part::month:
      return std::int64_t{static_cast<unsigned>(calendar.month())} - 1;
    case time_part::day_of_month:
      return std::int64_t{static_cast<unsigned>(calendar.day())} - 1;
    case time_part::date:
      return static_cast<unsigned>(calendar.day());
    case time_part::day_of_week:
      return weekday(day).c_encoding();
    case time_part::day_of_year:
      return (day - sys_days(calendar.year() / 1 / 1)).count();
    case time_part::hours:
      return in_day / 3600;
    case time_part::minutes:
      return in_day / 60 % 60;
    case time_part::seconds:
      return in_day % 60;
    case time_part::milliseconds:
      return nanoseconds / 1'000'000;
  }
  return 0;
}

}  // namespace

template <time_part Part>
value part_in_utc(evaluation&, const value* args) {
  return int_value(part_of(Part, args[0].integer, args[0].size));
}

template <time_part Part>
value part_in_zone(evaluation& e, const value* args) {
  const auto zone = args[1].view();
  const auto offset =
      e.zones == nullptr ? zone_cache().offset(zone, args[0].integer) : e.zones->offset(zone, args[0].integer);
  if (!offset) return e.fail({"unknown time zone '", zone, "'"});
  return int_value(part_of(Part, args[0].integer + *offset, args[0].size));
}

template value part_in_utc<time_part::full_year>(evaluation&, const value*);
template value part_in_utc<time_part::month>(evaluation&, const value*);
template value part_in_utc<time_part::day_of_month>(evaluation&, const value*);
template value part_in_utc<time_part::date>(evaluation&, const value*);
template value part_in_utc<time_part::day_of_week>(evaluation&, const value*);
template value part_in_utc<time_part::day_of_year>(evaluation&, const value*);
template value part_in_utc<time_part::hours>(evaluation&, const value*);
template value part_in_utc<time_part::minutes>(evaluation&, const value*);
template value part_in_utc<time_part::seconds>(evaluation&, const value*);
template value part_in_utc<time_part::milliseconds>(evaluation&, const value*);
template value part_in_zone<time_part::full_year>(evaluation&, const value*);
template value part_in_zone<time_part::month>(evaluation&, const value*);
template value part_in_zone<time_part::day_of_month>(evaluation&, const value*);
template value part_in_zone<time_part::date>(evaluation&, const value*);
template value part_in_zone<time_part::day_of_week>(evaluation&, const value*);
template value part_in_zone<time_part::day_of_year>(evaluation&, const value*);
template value part_in_zone<time_part::hours>(evaluation&, const value*);
template value part_in_zone<time_part::minutes>(evaluation&, const value*);
template value part_in_zone<time_part::seconds>(evaluation&, const value*);
template value part_in_zone<time_part::milliseconds>(evaluation&, const value*);

value duration_hours(evaluation&, const value* args) { return int_value(args[0].integer / (3600 * second_ns)); }
value duration_minutes(evaluation&, const value* args) { return int_value(args[0].integer / (60 * second_ns)); }
value duration_seconds(evaluation&, const value* args) { return int_value(args[0].integer / second_ns); }
// The milliseconds of the second, and not the whole duration in milliseconds.
value duration_milliseconds(evaluation&, const value* args) {
  return int_value(args[0].integer % second_ns / 1'000'000);
}

}  // namespace pl::cel
