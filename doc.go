// Package cardea is the root of the module; see docs/ARCHITECTURE.md for the map.
package cardea
