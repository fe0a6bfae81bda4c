package scim

import (
	"context"
	"net/http"
	"strings"
)

// URNs of what a server says of itself (RFC 7643, sections 5 to 7).
const (
	configURN       = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
	resourceTypeURN = "urn:ietf:params:scim:schemas:core:2.0:ResourceType"
	schemaURN       = "urn:ietf:params:scim:schemas:core:2.0:Schema"
)

// unfiltered refuses a filter where there is nothing to filter (RFC 7644, section 4).
func unfiltered(op func(ctx context.Context, rq *request) (answer, error)) func(ctx context.Context, rq *request) (answer, error) {
	return func(ctx context.Context, rq *request) (answer, error) {
		if rq.query.Has("filter") {
			return answer{}, errNoFilter
		}
		return op(ctx, rq)
	}
}

func getConfig(_ context.Context, rq *request) (answer, error) {
	yes := map[string]any{"supported": true}
	return answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{configURN},
		"patch":   yes, "sort": yes, "etag": yes,
		"changePassword": map[string]any{"supported": false},
		"filter":         map[string]any{"supported": true, "maxResults": maxPage},
		"bulk":           map[string]any{"supported": true, "maxOperations": maxBulk, "maxPayloadSize": maxMessage},
		"authenticationSchemes": []any{map[string]any{
			"type": "oauthbearertoken", "name": "Bearer token", "description": "A token of the directory, sent as Authorization: Bearer.", "primary": true, "specUri": "https://www.rfc-editor.org/rfc/rfc6750",
		}},
		"meta": map[string]any{"resourceType": "ServiceProviderConfig", "location": rq.base + "/ServiceProviderConfig"},
	}}, nil
}

var kinds = []*kind{users, groups}

func resourceType(k *kind, base string) map[string]any {
	out := map[string]any{
		"schemas": []string{resourceTypeURN}, "id": k.Name, "name": k.Name, "endpoint": "/" + k.Endpoint, "description": k.Text, "schema": k.URN,
		"meta": map[string]any{"resourceType": "ResourceType", "location": base + "/ResourceTypes/" + k.Name},
	}
	var extensions []any
	for _, ext := range k.extensions {
		extensions = append(extensions, map[string]any{"schema": ext.Name, "required": false})
	}
	if extensions != nil {
		out["schemaExtensions"] = extensions
	}
	return out
}

func listOf(resources []any) answer {
	return answer{status: http.StatusOK, body: map[string]any{
		"schemas": []string{listURN}, "totalResults": len(resources), "startIndex": 1, "itemsPerPage": len(resources), "Resources": resources,
	}}
}

func getResourceTypes(_ context.Context, rq *request) (answer, error) {
	var all []any
	for _, k := range kinds {
		all = append(all, resourceType(k, rq.base))
	}
	return listOf(all), nil
}

func getResourceType(_ context.Context, rq *request) (answer, error) {
	for _, k := range kinds {
		if strings.EqualFold(k.Name, rq.id()) {
			return answer{status: http.StatusOK, body: resourceType(k, rq.base)}, nil
		}
	}
	return answer{}, errNoResource
}

// schemas are what /Schemas shows: those of the kinds, and of their extensions.
func schemas(base string) (all []any, ids []string) {
	put := func(id, name, text string, attributes []*attribute) {
		ids = append(ids, id)
		all = append(all, map[string]any{
			"schemas": []string{schemaURN}, "id": id, "name": name, "description": text, "attributes": attributes,
			"meta": map[string]any{"resourceType": "Schema", "location": base + "/Schemas/" + id},
		})
	}
	for _, k := range kinds {
		put(k.URN, k.Name, k.Text, k.attributes)
		for _, ext := range k.extensions {
			put(ext.Name, "EnterpriseUser", ext.Description, ext.Sub)
		}
	}
	return all, ids
}

func getSchemas(_ context.Context, rq *request) (answer, error) {
	all, _ := schemas(rq.base)
	return listOf(all), nil
}

func getSchema(_ context.Context, rq *request) (answer, error) {
	all, ids := schemas(rq.base)
	for i, id := range ids {
		if strings.EqualFold(id, rq.id()) {
			return answer{status: http.StatusOK, body: all[i]}, nil
		}
	}
	return answer{}, errNoResource
}

// me is refused: a token is a directory's, and not a person's (RFC 7644, section 3.11).
func me(context.Context, *request) (answer, error) { return answer{}, errNotHere }
