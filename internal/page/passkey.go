package page

// PasskeysPath is the page of one's passkeys.
const PasskeysPath = "/account/passkeys"
