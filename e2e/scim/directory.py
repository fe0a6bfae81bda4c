"""Acts as an organization's directory, with scim2-client: brings a person in, and takes
them out again.

Takes the address of a directory, its token, and "in" or "out" with a user name. Prints
the id of the person.
"""

import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient

base, token, what, name = sys.argv[1:]
scim = SyncSCIMClient(Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=60))
scim.discover()
User = scim.get_resource_model("User")
if what == "in":
    given = name.split("@")[0].capitalize()
    person = scim.create(User(
        user_name=name, external_id="e-17", active=True, name=User.Name(given_name=given, family_name="Birch"),
        emails=[User.Emails(value=name, type="work", primary=True)],
    ))
else:
    [person] = [u for u in scim.query(User).resources if u.user_name == name]
    person.active = False
    person = scim.replace(person)
    assert person.active is False, person
print(person.id)
