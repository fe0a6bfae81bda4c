package passkey

import (
	"encoding/hex"
	"strings"
)

// Authenticator is the name of the model that made the passkey, empty if that is not
// known. It is the authenticator's own word and decides nothing.
func (p Passkey) Authenticator() string { return authenticators[hex.EncodeToString(p.AAGUID)] }

// Model is the AAGUID as it is commonly written.
func (p Passkey) Model() string {
	h := hex.EncodeToString(p.AAGUID)
	if len(h) != 32 {
		return ""
	}
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// authenticators are names of common models by their AAGUID, as their makers publish
// them.
var authenticators = map[string]string{
	// Systems and browsers.
	"fbfc3007154e4ecc8c0b6e020557d7bd": "iCloud Keychain",
	"dd4ec289e01d41c9bb8970fa845d4bf2": "iCloud Keychain",
	"ea9b8d664d011d213ce4b6b48cb575d4": "Google Password Manager",
	"adce000235bcc60a648b0b25f1f05503": "Chrome on Mac",
	"08987058cadc4b81b6e130de50dcbe96": "Windows Hello",
	"9ddd1817af5a4672a2b93e3dd95000a9": "Windows Hello",
	"6028b017b1d44c02b4b3afcdafc96bb2": "Windows Hello",
	"d345266801fd4c12926c83a4204853aa": "Microsoft Password Manager",
	"53414d53554e47000000000000000000": "Samsung Pass",
	"771b48fdd3d44f749232fc157ab0507a": "Edge on Mac",
	"b53976664885aa6bcebfe52262a439a2": "Chromium",

	// Password managers.
	"bada5566a7aa401fbd9645619a55120d": "1Password",
	"d548826e79b4db40a3d811116f7e8349": "Bitwarden",
	"531126d6e717415c93203d9aa6981239": "Dashlane",
	"f38095407f1449c1a8b38f813b225541": "Enpass",
	"a10c6dd9465e42268198c7c44b91c555": "Kaspersky Password Manager",
	"eaecdef21c3156348639f1cbd9c00a08": "KeePassDX",
	"fdb141b25d84443e8a354698c205a502": "KeePassXC",
	"0ea242b443c44a1b8b17dd6d0b6baec6": "Keeper",
	"b78a0a556ef8d246a042ba0f6d55050c": "LastPass",
	"b84e404815dc4dd08640f4f60813c8af": "NordPass",
	"50726f746f6e5061737350726f746f6e": "Proton Pass",
	"b35a26b28f6e4697ab1dd44db4da28c6": "Zoho Vault",

	// Security keys.
	"cb69481e8ff7403993ec0a2729a154a8": "YubiKey 5",
	"ee882879721c491397753dfcce97072a": "YubiKey 5",
	"fa2b99dc9e3942578f924a30d23c4118": "YubiKey 5 NFC",
	"2fc0579f811347eab116bb5a8db9202a": "YubiKey 5 NFC",
	"a25342c03cdc44148e46f4807fca511c": "YubiKey 5 NFC",
	"19083c3d83834b18bc038f1c9ab2fd1b": "YubiKey 5",
	"c5ef55ffad9a4b9fb580adebafe026d0": "YubiKey 5Ci",
	"73bb0cd4e50249b89c6fb59445bf720b": "YubiKey 5 FIPS",
	"c1f9a0bc1dd2404ab27f8e29047a43fd": "YubiKey 5 NFC FIPS",
	"8520342148f943559bc88a53846e5083": "YubiKey 5Ci FIPS",
	"d8522d9f575b486688a9ba99fa02f35b": "YubiKey Bio",
	"f8a011f38c0a4d15800617111f9edc7d": "Security Key by Yubico",
	"b92c3f9ac0144056887f140a2501163b": "Security Key by Yubico",
	"6d44ba9bf6ec2e49b9300c8fe920cb73": "Security Key NFC by Yubico",
	"149a20218ef6413396b881f8d5b7f1f5": "Security Key NFC by Yubico",
	"a4e9fc6d4cbe4758b8ba37598bb5bbaa": "Security Key NFC by Yubico",
	"c39efba6fcf44c3e828bfc4a6115a0ff": "Nitrokey FIDO2",
}
