// SPDX-License-Identifier: Apache-2.0
#include "response.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace pl::http {

namespace {

std::string http_date() {
  const auto now = std::time(nullptr);
  std::tm utc{};
  ::gmtime_r(&now, &utc);
  std::array<char, 40> text{};
  static constexpr std::array<const char*, 7> days{"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
  static constexpr std::array<const char*, 12> months{"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  std::snprintf(text.data(), text.size(), "%s, %02d %s %d %02d:%02d:%02d GMT",
                days[static_cast<std::size_t>(utc.tm_wday)], utc.tm_mday, months[static_cast<std::size_t>(utc.tm_mon)],
                utc.tm_year + 1900, utc.tm_hour, utc.tm_min, utc.tm_sec);
  return text.data();
}

}  // namespace

std::string_view reason_of(int status) noexcept {
  static constexpr std::array<std::pair<int, std::string_view>, 17> reasons{{{200, "OK"},
                                                                             {204, "No Content"},
                                                                             {400, "Bad Request"},
                                                                             {401, "Unauthorized"},
                                                                             {404, "Not Found"},
                                                                             {405, "Method Not Allowed"},
                                                                             {408, "Request Timeout"},
                                                                             {413, "Content Too Large"},
                                                                             {414, "URI Too Long"},
                                                                             {415, "Unsupported Media Type"},
                                                                             {417, "Expectation Failed"},
                                                                             {429, "Too Many Requests"},
                                                                             {431, "Request Header Fields Too Large"},
                                                                             {500, "Internal Server Error"},
                                                                             {501, "Not Implemented"},
                                                                             {503, "Service Unavailable"},
                                                                             {505, "HTTP Version Not Supported"}}};
  for (const auto& [code, reason] : reasons)
    if (code == status) return reason;
  return "Unknown";
}

std::string head_of(const response& a, bool keeps_alive) {
  auto text =
      "HTTP/1.1 " + std::to_string(a.status) + " " + std::string(reason_of(a.status)) + "\r\nDate: " + http_date();
  if (a.status != 204) text.append("\r\nContent-Type: ").append(a.content_type);
  if (a.status != 204 && !a.stream) text += "\r\nContent-Length: " + std::to_string(a.body.size());
  for (const auto& [name, value] : a.headers) text.append("\r\n").append(name).append(": ").append(value);
  if (!keeps_alive) text += "\r\nConnection: close";
  return text += "\r\n\r\n";
}

}  // namespace pl::http
