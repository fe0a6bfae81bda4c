package page

func (*SignIn) file() string              { return "sign-in" }
func (*SignUp) file() string              { return "sign-up" }
func (*CodeSent) file() string            { return "code-sent" }
func (*Password) file() string            { return "password" }
func (*ForgotPassword) file() string      { return "forgot-password" }
func (*ResetSent) file() string           { return "reset-sent" }
func (*ResetPassword) file() string       { return "reset-password" }
func (*NewPassword) file() string         { return "new-password" }
func (*LinkConfirm) file() string         { return "link-confirm" }
func (*LinkDone) file() string            { return "link-done" }
func (*AccountPicker) file() string       { return "account-picker" }
func (*Consent) file() string             { return "consent" }
func (*DeviceCode) file() string          { return "device-code" }
func (*DeviceConfirm) file() string       { return "device-confirm" }
func (*DeviceDone) file() string          { return "device-done" }
func (*SignOut) file() string             { return "sign-out" }
func (*SignedOut) file() string           { return "signed-out" }
func (*FormPost) file() string            { return "form-post" }
func (*Error) file() string               { return "error" }
func (*AccountProfile) file() string      { return "account-profile" }
func (*AccountContact) file() string      { return "account-contact" }
func (*AccountPassword) file() string     { return "account-password" }
func (*AccountSessions) file() string     { return "account-sessions" }
func (*AccountApplications) file() string { return "account-applications" }
