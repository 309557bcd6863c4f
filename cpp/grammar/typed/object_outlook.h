// What may come next in an object, so that it can still be completed.
#pragma once

#include <cstdint>
#include <vector>

#include "grammar/typed/members.h"
#include "support/budget.h"
#include "support/result.h"

namespace treadle {

class Store;

// Answers "may this come next?" for one state of one object.
class Outlook {
 public:
  Outlook(Store& store, Fuel& fuel, const ObjectForm& form, const ObjectState& state)
      : store_(store), fuel_(fuel), form_(form), state_(state) {}

  // Fills what may follow; fails only when a budget runs out.
  Status work();

  bool closable = false;
  std::vector<Offered> named;    // by name
  std::vector<uint32_t> extras;  // indices into ObjectForm::extras

 private:
  Status find_usable();
  void drop_unmet();
  std::vector<uint32_t> needed(uint32_t key) const;
  bool fits_alone(KeyRead read, const std::vector<uint32_t>& open) const;
  bool fits(uint32_t key, const std::vector<uint32_t>& needs) const;
  bool extra_fits(uint32_t extra, const std::vector<uint32_t>& needs) const;
  bool counts_fit(const ObjectState& next, uint32_t open) const;
  bool counts_fit(const ObjectState& next, uint32_t open, uint32_t others) const;
  std::vector<uint32_t> keys_to_goals(const ObjectState& next) const;

  Store& store_;
  Fuel& fuel_;
  const ObjectForm& form_;
  const ObjectState& state_;
  std::vector<bool> usable_;       // unread, in reach and with a value
  std::vector<uint32_t> claims_;   // of each key, those with a value
  std::vector<uint32_t> seekers_;  // usable keys that reach a goal
  std::vector<uint32_t> live_extras_;
  bool simple_ = true;  // no key needs another
  bool free_ = false;   // neither goals nor counts bar a key
};

// A node that is empty exactly when the object with goals is.
Result<NodeRef> goals_witness(Store& store, const ObjectForm& form, Fuel& fuel);

}  // namespace treadle
