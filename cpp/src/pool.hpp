#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

namespace hrvit {

/// A few of a costly thing, lent one at a time; who finds none waits.
///
/// Loans keep the things alive, also beyond the pool.
template <typename Thing>
class Pool {
  public:
    explicit Pool(std::vector<std::unique_ptr<Thing>> things)
        : shelf_(std::make_shared<Shelf>()) {
        shelf_->free = std::move(things);
    }

    /// One of them; it comes back when the last copy of the pointer is gone.
    [[nodiscard]] std::shared_ptr<Thing> borrow() const {
        std::unique_lock lock(shelf_->guard);
        shelf_->returned.wait(lock, [this] { return !shelf_->free.empty(); });
        auto thing = std::move(shelf_->free.back());
        shelf_->free.pop_back();
        lock.unlock();
        Thing* const lent = thing.get();
        auto loan = std::make_shared<Loan>(shelf_, std::move(thing));
        return {std::move(loan), lent};
    }

  private:
    struct Shelf {
        std::mutex guard;
        std::condition_variable returned;
        std::vector<std::unique_ptr<Thing>> free;
    };

    class Loan {
      public:
        Loan(std::shared_ptr<Shelf> shelf, std::unique_ptr<Thing> thing)
            : shelf_(std::move(shelf)), thing_(std::move(thing)) {}
        Loan(const Loan&) = delete;
        Loan& operator=(const Loan&) = delete;
        Loan(Loan&&) = delete;
        Loan& operator=(Loan&&) = delete;
        ~Loan() {
            {
                const std::lock_guard lock(shelf_->guard);
                // It has room: the thing was in it before.
                shelf_->free.push_back(std::move(thing_));
            }
            shelf_->returned.notify_one();
        }

      private:
        std::shared_ptr<Shelf> shelf_;
        std::unique_ptr<Thing> thing_;
    };

    std::shared_ptr<Shelf> shelf_;
};

}  // namespace hrvit
