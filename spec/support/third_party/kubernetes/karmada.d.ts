// Karmada's objects, as far as deploy/karmada uses them: written after the schemas of its custom
// resources, since no package has their types.
import { IObjectMeta } from '@kubernetes-models/apimachinery/apis/meta/v1/ObjectMeta';
import { IHorizontalPodAutoscalerSpec } from
  'kubernetes-models/autoscaling/v2/HorizontalPodAutoscalerSpec';

interface Selector {
  apiVersion: string;
  kind: string;
  name?: string;
  namespace?: string;
  labelSelector?: { matchLabels?: Record<string, string> };
}

interface Clusters {
  clusterNames?: string[];
  exclude?: string[];
  labelSelector?: { matchLabels?: Record<string, string> };
}

interface Scheduling {
  replicaSchedulingType?: 'Duplicated' | 'Divided';
  replicaDivisionPreference?: 'Aggregated' | 'Weighted';
  weightPreference?: {
    dynamicWeight?: 'AvailableReplicas';
    staticWeightList?: { targetCluster: Clusters; weight: number }[];
  };
}

export interface IPropagationPolicy {
  apiVersion: 'policy.karmada.io/v1alpha1';
  kind: 'PropagationPolicy';
  metadata: IObjectMeta;
  spec: {
    resourceSelectors: [Selector, ...Selector[]];
    propagateDeps?: boolean;
    priority?: number;
    placement?: {
      replicaScheduling?: Scheduling;
    } & ({ clusterAffinity?: Clusters; clusterAffinities?: undefined }
      | { clusterAffinities: ({ affinityName: string } & Clusters)[]; clusterAffinity?: undefined });
  };
}

export interface IOverridePolicy {
  apiVersion: 'policy.karmada.io/v1alpha1';
  kind: 'OverridePolicy';
  metadata: IObjectMeta;
  spec: {
    resourceSelectors?: Selector[];
    overrideRules?: {
      targetCluster?: Clusters;
      overriders: {
        plaintext?: { path: string; operator: 'add' | 'remove' | 'replace'; value?: unknown }[];
      };
    }[];
  };
}

// It has the fields of the autoscaler of one cluster.
export interface IFederatedHPA {
  apiVersion: 'autoscaling.karmada.io/v1alpha1';
  kind: 'FederatedHPA';
  metadata: IObjectMeta;
  spec: IHorizontalPodAutoscalerSpec;
}
