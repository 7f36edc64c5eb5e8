// Writes JSON schemas for kubeconform: one file for each kind that Kubernetes' own OpenAPI document describes, and one for each
// version of the definitions given.
//
//	schemas DIRECTORY SWAGGER.json [DEFINITION.yaml…]
//
// Strict: a field that a schema does not know is an error, as it is for the API server.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 2 {
		return fmt.Errorf("needs DIRECTORY SWAGGER.json [DEFINITION.yaml…]")
	}
	directory := arguments[0]
	if err := kubernetes(directory, arguments[1]); err != nil {
		return err
	}
	for _, path := range arguments[2:] {
		if err := custom(directory, path); err != nil {
			return err
		}
	}
	return nil
}

func kubernetes(directory, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document struct{ Definitions map[string]object }
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	for name, schema := range document.Definitions {
		switch name[strings.LastIndex(name, ".")+1:] {
		// Strings in the document; numbers are as good.
		case "IntOrString", "Quantity":
			document.Definitions[name] = object{"type": []string{"string", "number"}}
			continue
		}
		strict(schema)
		kinds, _ := schema["x-kubernetes-group-version-kind"].([]any)
		// With more than one it is an object of many kinds, such as DeleteOptions.
		if len(kinds) != 1 {
			continue
		}
		kind, _ := kinds[0].(object)
		group, _ := kind["group"].(string)
		file := file(group, kind["version"], kind["kind"])
		if err := write(directory, file, object{"$ref": "_definitions.json#/definitions/" + name}); err != nil {
			return err
		}
	}
	return write(directory, "_definitions.json", object{"definitions": document.Definitions})
}

func custom(directory, path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var definition struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct{ OpenAPIV3Schema object }
			}
		}
	}
	if err := yaml.Unmarshal(text, &definition); err != nil {
		return err
	}
	for _, version := range definition.Spec.Versions {
		schema := version.Schema.OpenAPIV3Schema
		properties := schema["properties"].(object)
		properties["apiVersion"] = object{"type": "string"}
		properties["kind"] = object{"type": "string"}
		strict(schema)
		// Of these the definition has a part only.
		properties["metadata"] = object{"$ref": "_definitions.json#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}
		file := file(definition.Spec.Group, version.Name, definition.Spec.Names.Kind)
		if err := write(directory, file, schema); err != nil {
			return err
		}
	}
	return nil
}

// file is where kubeconform looks for a kind.
func file(group string, version, kind any) string {
	name := fmt.Sprintf("%v-%v.json", kind, version)
	if group != "" {
		group, _, _ := strings.Cut(group, ".")
		name = fmt.Sprintf("%v-%v-%v.json", kind, group, version)
	}
	return strings.ToLower(name)
}

// strict closes every object whose fields are listed.
func strict(value any) {
	switch value := value.(type) {
	case object:
		_, listed := value["properties"].(object)
		_, open := value["additionalProperties"]
		if listed && !open && value["x-kubernetes-preserve-unknown-fields"] == nil {
			value["additionalProperties"] = false
		}
		if value["x-kubernetes-int-or-string"] == true {
			value["type"] = []string{"string", "integer"}
		}
		for _, inner := range value {
			strict(inner)
		}
	case []any:
		for _, inner := range value {
			strict(inner)
		}
	}
}

func write(directory, name string, schema object) error {
	text, err := json.Marshal(schema)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(directory, name), text, 0o644)
}
