#include "backends/tensorrt_log.hpp"

#include <deque>
#include <mutex>
#include <sstream>
#include <vector>

namespace hrvit::tensorrt {
namespace {

constexpr std::size_t remembered = 64;

class Recorder final : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char* message) noexcept override {
        if (severity > Severity::kERROR) {
            return;
        }
        try {
            const std::lock_guard lock(guard_);
            recent_.emplace_back(message);
            ++count_;
            if (recent_.size() > remembered) {
                recent_.pop_front();
            }
        } catch (...) {
            // A message lost for want of memory is no reason to end the process.
            return;
        }
    }

    std::size_t count() {
        const std::lock_guard lock(guard_);
        return count_;
    }

    std::vector<std::string> since(std::size_t start) {
        const std::lock_guard lock(guard_);
        const std::size_t fresh = std::min(count_ - start, recent_.size());
        return {recent_.end() - static_cast<std::ptrdiff_t>(fresh), recent_.end()};
    }

  private:
    std::mutex guard_;
    std::deque<std::string> recent_;
    std::size_t count_ = 0;
};

Recorder& recorder() {
    static Recorder only;
    return only;
}

/// A message without its line breaks and indents.
std::string one_line(const std::string& message) {
    std::istringstream words{message};
    std::string line;
    for (std::string word; words >> word;) {
        line += (line.empty() ? "" : " ") + word;
    }
    return line;
}

}  // namespace

nvinfer1::ILogger& logger() { return recorder(); }

Listener::Listener() : start_(recorder().count()) {}

std::string Listener::errors() const {
    std::string telling;
    std::string echo;
    for (const std::string& message : recorder().since(start_)) {
        std::string& text =
            message.find("catchCudaError") == std::string::npos ? telling : echo;
        text += (text.empty() ? "" : "; ") + one_line(message);
    }
    if (telling.empty()) {
        telling = echo;
    }
    return telling.empty() ? "the library gave no reason" : telling;
}

}  // namespace hrvit::tensorrt
